"""Ingest: sources of media and text in, one dataset and a ledger of every input row's fate out.

    readers   a source -> raw rows, one reader per kind: manifests (CSV, TSV, JSONL, Parquet), folders with sidecars,
              WebDataset shards, Hugging Face folders, plain text, and the layouts of public corpora (layouts/)
              (json_lists, parquet_pages: long lists and pages of theirs, looked at before they are read)
    locations local paths and URLs;  refs  where the bytes of media lie: a file, an archive's member, a table's cell
              (cells: the latter, a few rows at a time)
    drafts    a raw row -> a checked draft    (texts, official splits; text_checks: what texts are refused for)
    languages which language a text is in
    media     a media file -> its bytes, decoded once to the end, or a typed reason
              (formats: magic bytes; pictures, sounds: the decoders, which the encoders use too;
              quality: what decodes well and is of no use; measures: what all checks are held against)
    sandbox   the same in worker processes with caps on memory and time
    memory    what earlier ingests hashed and decoded;  digests  what files hold, with its help
    databases   how such memories are opened
    splits    a content -> train, val or test   (cluster_splits: what is nearly the same together)
    duplicates  near duplicates, and test samples that train holds too
    profiler  all measured values, beside the ledger  (measure_table: the values; histograms: one per threshold;
              outliers: samples that stand out; profile: what the report shows of it)
    drift     a dataset beside its predecessor  (drift_features: what they are compared by)
    inputs    rows and digests of the sources before anything is decoded: what a fingerprint stands for
    waiting   rows on disk until splits, duplicates and outliers are known, which is when all rows are
    stage     all of it in order, into the dataset and the ledger

This module stays light, since the configuration imports the options from here; the work is imported when asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multimodal.ingest.options import IngestOptions
from multimodal.ingest.reasons import Reason

if TYPE_CHECKING:
    from multimodal.dataset import DatasetInfo

__all__ = ["DECODERS", "Reason", "ingest", "plan_ingest", "source_kinds"]

DECODERS = ("ingest/formats.py", "ingest/pictures.py", "ingest/sounds.py")
"""The code that turns a media file's bytes into pixels and samples, for every stage that does so."""


def source_kinds(options: IngestOptions) -> dict[str, str]:
    """Source name -> how it is read: its kind, and whether it was recognised.

    Raises:
        SourceError: a source looks like nothing that is known.
    """
    from multimodal.ingest.readers import kind_of

    return {source.name: f"{kind_of(source)}{'' if source.kind else ' (recognised)'}" for source in options.sources}


def plan_ingest(options: IngestOptions, seed: int, workspace: Path | None = None) -> dict[str, Any]:
    """The parts of the ingest stage's fingerprint: digest over all files of the sources, options, seed, code.

    Args:
        workspace: files that it remembers, unchanged by their stat, are not read again.

    Raises:
        SourceError, ConfigError: a source is absent or lacks a column; nothing has been done yet.
    """
    from multimodal.ingest import stage

    return stage.plan_ingest(options, seed, workspace)


def ingest(
    options: IngestOptions, *, seed: int, workspace: Path, progress: Callable[[int, int], None] | None = None
) -> DatasetInfo:
    """Write `workspace/dataset/<fp>` and `workspace/ledger/<fp>`; returns at once where they are finished already.

    Args:
        progress: called with (rows settled, rows in all).

    Raises:
        SourceError, ConfigError: a source is absent or lacks a column; nothing has been done yet.
        DatasetError: a file changed while it was ingested; nothing has been written.
    """
    from multimodal.ingest import stage

    return stage.ingest(options, seed=seed, workspace=workspace, progress=progress)
