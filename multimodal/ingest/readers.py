"""The reader of each kind of source. What is wrong with one row travels with it; a source that cannot be read at all,
or lacks a column that it needs, is refused before any work."""

from __future__ import annotations

from multimodal.errors import SourceError
from multimodal.ingest.folders import FolderReader
from multimodal.ingest.manifests import CsvReader, JsonlReader, TsvReader
from multimodal.ingest.options import SourceOptions
from multimodal.ingest.reader import Reader

READERS: dict[str, type[Reader]] = {".csv": CsvReader, ".tsv": TsvReader, ".jsonl": JsonlReader}
"""Manifest suffix -> reader; `.txt` is recognised by its first line."""


def open_reader(source: SourceOptions) -> Reader:
    """The reader of a source, checked.

    Raises:
        SourceError: nothing is at the path, or it is neither a folder nor a manifest of a known kind.
        ConfigError: a needed column is not there.
    """
    for path in (source.path, *source.split_files.values(), *([source.media_root] if source.media_root else [])):
        if not path.exists():
            raise SourceError(f"source '{source.name}': nothing at {path}; correct the path in the configuration")
    reader = _reader_kind(source)(source)
    reader.check()
    return reader


def _reader_kind(source: SourceOptions) -> type[Reader]:
    if source.path.is_dir():
        return FolderReader
    suffix = source.path.suffix.lower()
    if suffix in READERS:
        return READERS[suffix]
    with source.path.open("rb") as file:
        header = file.readline(1 << 16)
    if header.lstrip().startswith(b"{"):
        return JsonlReader
    if b"\t" in header or b"," in header:
        return TsvReader if b"\t" in header else CsvReader
    known = f"known: {', '.join(READERS)}, or .txt with a header line"
    raise SourceError(f"source '{source.name}': {source.path} is no folder and no manifest; {known}")
