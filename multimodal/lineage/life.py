"""The life of one input row: where it came from, what it became, and what models made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from multimodal.dataset import SPLIT_ORIGIN, Dataset, Fate, LedgerRow
from multimodal.fingerprint import read_index
from multimodal.ingest.formats import audio_format, image_format
from multimodal.ingest.options import IngestOptions
from multimodal.ingest.retrace import options_of, retrace
from multimodal.ingest.splits import SplitOrigin, hash_split
from multimodal.ledger import rows_that_repeat
from multimodal.lineage.evaluations import Written, written_for
from multimodal.lineage.latents import StoredLatents, stored_latents
from multimodal.pairs.table import PairScore, scores_of
from multimodal.sample import Content, Modality, Sample, Task

MAIN_TABLES = ("part-", "media-")
TOLD = (
    "sample_id", "content_id", "modality", "task", "split", "group", "source", "uri", "text", "input", "style",
    "speaker", "attributes", "hint", "picture",
)  # fmt: skip
"""Columns of a sample that a life tells in their own place; all others are told as they are."""

CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Life:
    """All that is known of one row.

    Args:
        dataset: its fingerprint.
        source: where the source lies and what it is for, "" where the dataset's options are of another version.
        row: of the ledger.
        media: where the source has the row's media now, or why that is not known; "" for texts.
        sample: that it became, or that it repeats; None for a quarantined row.
        further: other columns of the sample's row that hold something: its texts as they were found, say.
        split_origin: why the sample is in its split.
        contents: modality, format and size of content and picture.
        repeated_by: ledger rows that repeat the sample.
        same_content: ids of other samples of the content.
        group: samples of its group by split, itself included.
        clusters: ids of contents that are near duplicates of its content.
        notes: rows of other tables beside dataset and ledger that name the sample or its content.
        latents: of its contents, in every store of the workspace.
        pairs: how well its text goes with its content, by each table of pair scores of the dataset.
        written: what models wrote for it.
    """

    dataset: str
    source: str
    row: LedgerRow
    media: str
    sample: Sample | None = None
    further: Mapping[str, str] | None = None
    split_origin: str = ""
    contents: tuple[str, ...] = ()
    repeated_by: tuple[LedgerRow, ...] = ()
    same_content: tuple[str, ...] = ()
    group: Mapping[str, int] | None = None
    clusters: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    latents: tuple[StoredLatents, ...] = ()
    pairs: tuple[PairScore, ...] = ()
    written: tuple[Written, ...] = ()


def life_of(dataset: Dataset, row: LedgerRow) -> Life:
    """Gather the life of a row from a dataset, its ledger and the workspace that they lie in.

    Raises:
        DatasetError: a part of it is damaged.
    """
    options = options_of(read_index(dataset.path) or {})
    source, media = _source(options, row), _media(options, row)
    kept = row.duplicate_of or row.sample_id
    samples = dataset.samples()
    sample = next((sample for sample in samples if sample.sample_id == kept), None) if kept else None
    if sample is None:
        return Life(dataset.path.name, source, row, media)
    workspace, ledger = dataset.path.parent.parent, dataset.info.ledger
    needed = _contents(sample)
    further = _further(dataset, sample)
    origin = further.pop(SPLIT_ORIGIN, "")
    notes, clusters = _beside((dataset.path, ledger), sample)
    return Life(
        dataset=dataset.path.name,
        source=source,
        row=row,
        media=media,
        sample=sample,
        further=further,
        split_origin=_why_split(origin, samples, sample, options),
        contents=tuple(_content_line(content) for content in dataset.contents(needed)),
        repeated_by=tuple(rows_that_repeat(ledger, kept)),
        same_content=tuple(
            other.sample_id for other in samples if other.content_id == sample.content_id and other is not sample
        ),
        group=dict(Counter(str(other.split) for other in samples if other.group == sample.group)),
        clusters=clusters,
        notes=notes,
        latents=tuple(found for content_id in needed for found in stored_latents(workspace, content_id)),
        pairs=tuple(scores_of(workspace, dataset.path.name, sample.sample_id)),
        written=tuple(written_for(workspace, sample)),
    )


def _source(options: IngestOptions | None, row: LedgerRow) -> str:
    named = [source for source in options.sources if source.name == row.source] if options else []
    return f"{named[0].path}, for {named[0].task}" if named else ""


def _media(options: IngestOptions | None, row: LedgerRow) -> str:
    """Where the source has the row's media, for rows whose bytes the dataset does not keep."""
    if row.fate is not Fate.QUARANTINED:
        return ""
    if options is None:
        return "not known: another version of this library wrote the dataset's options"
    found, problems = retrace(options, {row.source: [row.uri]})
    if row.source in problems:
        return f"the source cannot be read any more: {problems[row.source]}"
    traced = found.get((row.source, row.uri))
    if traced is None:
        return "the source has no such row any more"
    return traced.path if traced.media is not None else ""


def _contents(sample: Sample) -> list[str]:
    """Contents that the sample is conditioned on; infill conditions on its own canvas."""
    own = [] if sample.task is Task.INFILL else [sample.content_id]
    return own + ([sample.picture] if sample.picture else [])


def _content_line(content: Content) -> str:
    if content.modality is Modality.TEXT:
        return f"{content.content_id}, text of {len(content.data):,} bytes"
    kind = image_format(content.data) if content.modality is Modality.IMAGE else audio_format(content.data)
    return f"{content.content_id}, {content.modality} ({kind}) of {len(content.data):,} bytes"


def _further(dataset: Dataset, sample: Sample) -> dict[str, str]:
    """Columns of the sample's row beyond those that are told in their own place, where they hold something."""
    for path in sorted(dataset.path.glob("part-*.parquet")):
        for row in pq.read_table(path, filters=[("sample_id", "=", sample.sample_id)]).to_pylist():
            return {name: str(value) for name, value in row.items() if name not in TOLD and value}
    return {}


def _why_split(origin: str, samples: list[Sample], sample: Sample, options: IngestOptions | None) -> str:
    first = next(other for other in samples if other.content_id == sample.content_id)
    if origin == SplitOrigin.SOURCE:
        return "given by the source"
    if origin == SplitOrigin.CARVED:
        return f"train by the source, which has no val; carved out by the hash of its group '{first.group}'"
    if origin == SplitOrigin.HASH:
        return f"no source gives one; by the hash of its group '{first.group}'"
    if origin:
        return f"decided by {origin}"
    hashed = f"; the hash of its group gives {hash_split(first.group, options.splits)}" if options else ""
    return f"not noted by the version that wrote this dataset{hashed}"


def _beside(folders: tuple[Path, ...], sample: Sample) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What further tables say of the sample or its content, and which contents its cluster holds."""
    notes: list[str] = []
    clusters: list[str] = []
    keys = {"sample_id": sample.sample_id, "content_id": sample.content_id}
    for path in (path for folder in folders for path in sorted(folder.glob("*.parquet"))):
        if path.name.startswith(MAIN_TABLES):
            continue
        table = pq.read_table(path)
        key = next((name for name in keys if name in table.column_names), "")
        for row in table.filter(pc.field(key) == keys[key]).to_pylist() if key else ():
            if CLUSTER in row:
                members = table.filter(pc.field(CLUSTER) == row[CLUSTER])[key].to_pylist()
                clusters += [member for member in members if member != keys[key]]
            else:
                notes.append(f"{path.stem.rpartition('-')[0] or path.stem}: {_plain(row, key)}")
    return tuple(notes), tuple(clusters)


def _plain(row: Mapping[str, Any], without: str) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if name != without and value is not None)
