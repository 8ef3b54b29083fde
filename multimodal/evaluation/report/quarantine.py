"""Quarantined media as thumbnails: what refused rows look and sound like, as far as their sources are there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multimodal.errors import MediaError, MultimodalError
from multimodal.fingerprint import read_index
from multimodal.ingest import Reason
from multimodal.ingest.options import IngestOptions
from multimodal.ingest.retrace import TracedRow, options_of, retrace
from multimodal.ledger import count_rows, find_rows
from multimodal.sample import Modality

if TYPE_CHECKING:
    from multimodal.dataset import Dataset, LedgerRow
    from multimodal.ingest.previews import Preview

FIRST = 12
"""So many rows of each reason are shown."""

PREVIEW_BYTES = 2 * 10**6
"""Of the page, for all thumbnails together."""

FATAL = (Reason.DECODER_CRASHED, Reason.DECODER_TIMEOUT, Reason.DECODER_MEMORY)
"""What ended a decoder once is not decoded again for a thumbnail."""

_NOT_TRIED = MediaError(Reason.DECODER_CRASHED, "not opened again: it ended its decoder")


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One refused row.

    Args:
        source, uri, detail: as in the ledger.
        kind: `image` or `audio`.
        data_uri: its media, "" where there is nothing to see or hear.
        why: why not, "" where there is.
        name: what the row calls its media, "" where the URI says it.
    """

    source: str
    uri: str
    detail: str
    kind: str
    data_uri: str
    why: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class ReasonThumbnails:
    """The first refused rows of one reason, of `rows` in all."""

    reason: str
    rows: int
    shown: tuple[Thumbnail, ...]


def quarantined_media(dataset: Dataset) -> tuple[ReasonThumbnails, ...]:
    """Thumbnails by reason, the most frequent reason first; rows of sources of text alone have none.

    None at all for a dataset without a ledger, or whose options another version of this library wrote.
    """
    options, ledger = options_of(read_index(dataset.path) or {}), dataset.info.ledger
    if options is None or read_index(ledger) is None:
        return ()
    modalities = {source.name: source.task.modality for source in options.sources}
    counts: dict[str, int] = defaultdict(int)
    rows: dict[str, list[LedgerRow]] = defaultdict(list)
    for count in count_rows(ledger):
        if count.reason and modalities.get(count.source, Modality.TEXT) is not Modality.TEXT:
            counts[count.reason] += count.rows
            room = FIRST - len(rows[count.reason])
            if room:
                rows[count.reason] += find_rows(ledger, source=count.source, reason=count.reason, limit=room)[0]
    shown = _thumbnails([row for own in rows.values() for row in own], options, modalities)
    order = sorted(counts, key=lambda reason: (-counts[reason], reason))
    return tuple(
        ReasonThumbnails(reason, counts[reason], tuple(shown[row.source, row.uri] for row in rows[reason]))
        for reason in order
    )


def _thumbnails(
    rows: list[LedgerRow], options: IngestOptions, modalities: dict[str, Modality]
) -> dict[tuple[str, str], Thumbnail]:
    wanted: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        wanted[row.source].append(row.uri)
    found, problems = retrace(options, wanted)
    traced = {(row.source, row.uri): found.get((row.source, row.uri)) for row in rows}
    seen = _seen([row for row in rows if _is_openable(row, traced[row.source, row.uri])], traced, options)
    room, shown = PREVIEW_BYTES, {}
    for row in rows:
        key = (row.source, row.uri)
        preview = seen.get(key) or _absent(row, traced[key], problems.get(row.source, ""))
        data_uri = "" if isinstance(preview, MediaError) else preview.data_uri
        why = preview.detail if isinstance(preview, MediaError) else ""
        if len(data_uri) > room:
            data_uri, why = "", "no room left on this page"
        room -= len(data_uri)
        found_row = traced[key]
        name = found_row.path if found_row is not None and found_row.path not in row.uri else ""
        shown[key] = Thumbnail(row.source, row.uri, row.detail, str(modalities[row.source]), data_uri, why, name)
    return shown


def _is_openable(row: LedgerRow, traced: TracedRow | None) -> bool:
    return traced is not None and traced.media is not None and row.reason not in FATAL


def _seen(
    rows: Iterable[LedgerRow], traced: dict[tuple[str, str], TracedRow | None], options: IngestOptions
) -> dict[tuple[str, str], Preview | MediaError]:
    from multimodal.ingest.previews import previews

    keys = [(row.source, row.uri) for row in rows]
    files = [(row.media, row.modality) for row in (traced[key] for key in keys) if row and row.media]
    if not files:
        return {}
    try:
        return dict(zip(keys, previews(files, options.checks, options.sandbox), strict=True))
    except MultimodalError as error:  # the report is worth having without its thumbnails
        return dict.fromkeys(keys, MediaError(Reason.MISSING_FILE, str(error)))


def _absent(row: LedgerRow, traced: TracedRow | None, problem: str) -> MediaError:
    """Why the media of a row was not opened."""
    if row.reason in FATAL:
        return _NOT_TRIED
    if traced is None:
        gone = f"the source is gone: {problem}" if problem else "the source has no such row any more"
        return MediaError(Reason.MISSING_FILE, gone)
    return MediaError(Reason.MISSING_FILE, "the row names no media that may be opened")
