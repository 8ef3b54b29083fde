"""The reader of each kind of source. What is wrong with one row travels with it; a source that cannot be read at all,
or lacks a column that it needs, is refused before any work."""

from __future__ import annotations

from multimodal.errors import SourceError, UnreachableError
from multimodal.ingest.drafts import listed_splits
from multimodal.ingest.folders import FolderReader
from multimodal.ingest.layouts.coco import CocoReader, KarpathyReader
from multimodal.ingest.layouts.common_voice import CommonVoiceReader
from multimodal.ingest.layouts.flickr import FlickrReader
from multimodal.ingest.layouts.librispeech import LibriSpeechReader
from multimodal.ingest.layouts.ljspeech import LJSpeechReader
from multimodal.ingest.locations import is_plain, names_under
from multimodal.ingest.manifests import CsvReader, JsonlReader, TsvReader
from multimodal.ingest.options import Kind, SourceOptions
from multimodal.ingest.parquet import HuggingFaceReader, ParquetReader
from multimodal.ingest.reader import Reader
from multimodal.ingest.texts import TextReader
from multimodal.ingest.webdataset import WebDatasetReader

READERS: dict[Kind, type[Reader]] = {
    "csv": CsvReader,
    "tsv": TsvReader,
    "jsonl": JsonlReader,
    "text": TextReader,
    "parquet": ParquetReader,
    "webdataset": WebDatasetReader,
    "karpathy": KarpathyReader,
    "coco": CocoReader,
    "librispeech": LibriSpeechReader,
    "common_voice": CommonVoiceReader,
    "ljspeech": LJSpeechReader,
    "flickr": FlickrReader,
    "huggingface": HuggingFaceReader,
    "folder": FolderReader,
}
"""Kind -> reader; a source without `kind` is read by the first of them that recognises it."""


def open_reader(source: SourceOptions) -> Reader:
    """The reader of a source, checked.

    Raises:
        SourceError: nothing is at the path, or it is of no known kind.
        ConfigError: a needed column is not there, or the task does not go with the kind.
    """
    try:
        _require_files(source)
        reader = READERS[kind_of(source)](source)
        reader.check()
        listed_splits(source)
    except UnreachableError:
        raise
    except OSError as error:
        raise SourceError(f"source '{source.name}': {source.path} cannot be read: {error}") from error
    return reader


def _require_files(source: SourceOptions) -> None:
    """Nothing is opened before: opening a pipe would wait for a writer."""
    for path in (source.path, *source.split_files.values(), *([source.media_root] if source.media_root else [])):
        if not path.exists():
            raise SourceError(f"source '{source.name}': nothing at {path}; correct the path in the configuration")
        if not is_plain(path) and not path.is_dir():
            raise SourceError(f"source '{source.name}': {path} is neither a plain file nor a folder; name one of them")


def kind_of(source: SourceOptions) -> Kind:
    """What a source says that it is, else what it looks like.

    Raises:
        SourceError: it looks like nothing that is known, or nothing is there.
    """
    if source.kind is not None:
        return source.kind
    _require_files(source)
    is_folder = source.path.is_dir()
    names = names_under(source.path) if is_folder else []
    if is_folder and not names:
        return "folder"  # whose reader says that it is empty
    kind = next((kind for kind, reader in READERS.items() if reader.recognises(source.path, names)), None)
    if kind is None:
        known = ", ".join(READERS)
        raise SourceError(f"source '{source.name}': {source.path} is of no known kind; the kinds are {known}")
    return kind
