"""Back from a ledger's row to the source: the row as the source has it now, and where its media lies.

A ledger names rows by their URI, and the URI of a manifest's row is a line of the manifest. So the source is read once
more, as far as it takes; it may have changed since, or be gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from multimodal.errors import MultimodalError
from multimodal.ingest.options import IngestOptions
from multimodal.ingest.reader import Reader, Row
from multimodal.ingest.readers import open_reader
from multimodal.ingest.refs import MediaRef
from multimodal.sample import Modality


@dataclass(frozen=True, slots=True)
class TracedRow:
    """A row of a source.

    Args:
        source, uri: as in the ledger.
        path: the media path that the row names, "" for none.
        modality: of its content.
        media: where its media lies, None where it has none or must not be followed.
    """

    source: str
    uri: str
    path: str
    modality: Modality
    media: MediaRef | None


def options_of(index: Mapping[str, Any]) -> IngestOptions | None:
    """The ingest options in a dataset's index; None where another version wrote other options."""
    parts = index.get("parts")
    try:
        return IngestOptions.model_validate(parts["options"]) if isinstance(parts, Mapping) else None
    except (KeyError, ValidationError):
        return None


def retrace(
    options: IngestOptions, wanted: Mapping[str, Collection[str]]
) -> tuple[dict[tuple[str, str], TracedRow], dict[str, str]]:
    """Find rows again by their URIs.

    Args:
        options: of the ingest that wrote the ledger.
        wanted: source -> URIs.

    Returns:
        (source, URI) -> row of those that are still there, and source -> problem of sources that cannot be read.
    """
    found: dict[tuple[str, str], TracedRow] = {}
    problems: dict[str, str] = {}
    for source in options.sources:
        missing = wanted.get(source.name, ())
        if not missing:
            continue
        try:
            found |= _rows_at(open_reader(source), missing)
        except (MultimodalError, OSError) as error:
            problems[source.name] = str(error)
    return found, problems


def rows_with_media(options: IngestOptions, name: str) -> Iterator[TracedRow]:
    """Rows whose media path is a name, or ends with it; sources that cannot be read have none."""
    for source in options.sources:
        if source.task.modality is not Modality.TEXT:
            try:
                reader = open_reader(source)
                yield from _rows_named(reader, lambda row: f"/{_path(row)}".endswith(f"/{name}"))
            except (MultimodalError, OSError):
                continue


def _rows_at(reader: Reader, uris: Collection[str]) -> dict[tuple[str, str], TracedRow]:
    """The first row of each URI; the source is read no further than to the last of them."""
    missing, found = set(uris), {}
    for row in _rows_named(reader, lambda row: row.uri in missing):
        found[row.source, row.uri] = row
        missing.discard(row.uri)
        if not missing:
            break
    return found


def _rows_named(reader: Reader, is_wanted: Callable[[Row], bool]) -> Iterator[TracedRow]:
    for row in reader.rows():
        row = _printable(row)
        if is_wanted(row):
            media = None if row.problem else reader.media_path(row)
            yield TracedRow(reader.source.name, row.uri, _path(row), reader.source.task.modality, media)


def _printable(row: Row) -> Row:
    """The row under the URI that the ledger has for it, whatever bytes its file name is made of."""
    return row if row.uri.isascii() else Row(_text(row.uri), row.values, row.attributes, row.problem, "", row.media)


def _path(row: Row) -> str:
    return _text(row.values.get("path", "").strip())


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
