"""What can be said about sources, checks and splits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from multimodal.ingest.locations import LocationField
from multimodal.options import Options
from multimodal.sample import Split, Task

Column = Literal["path", "text", "input", "style", "group", "split", "speaker"]
"""Standard names of a row's columns."""

Kind = Literal[
    "csv", "tsv", "jsonl", "text", "parquet", "webdataset", "huggingface", "coco", "karpathy", "flickr",
    "librispeech", "common_voice", "ljspeech", "folder",
]  # fmt: skip
"""Kinds of sources."""


class SourceOptions(Options):
    """One source of rows.

    Args:
        name: names the source in the ledger and in reports.
        path: a file or a folder of one of the kinds, local or a URL of any file system that fsspec knows.
        task: what its rows are for.
        kind: what lies at the path; None recognises it (`multimodal.ingest.readers` lists the kinds).
        columns: standard name -> column of the manifest, where they differ; standard names are path, text, input,
            style, group, split, speaker.
        media_root: folder that `path` entries are relative to; the manifest's own folder by default.
        style: target style of all rows, where no column gives it (restyle).
        split: split of all rows, where no column or list gives it.
        split_values: source's word for a split -> ours, e.g. {dev: test}.
        split_files: split -> file that lists the media names of that split, one per line (Flickr8k layout).
        limit: read at most this many rows (for trials); None reads all.
    """

    name: str
    path: LocationField
    task: Task
    kind: Kind | None = None
    columns: dict[Column, str] = Field(default_factory=dict)
    media_root: LocationField | None = None
    style: str = ""
    split: Split | None = None
    split_values: dict[str, Split] = Field(default_factory=dict)
    split_files: dict[Split, LocationField] = Field(default_factory=dict)
    limit: int | None = Field(default=None, ge=1)


class CheckOptions(Options):
    """Limits that a row must keep; a row beyond one is quarantined with the reason of that name."""

    max_file_bytes: int = Field(default=32 * 2**20, ge=1)
    min_image_pixels: int = Field(default=16 * 16, ge=1)
    max_image_pixels: int = Field(default=40_000_000, ge=1)
    min_clip_seconds: float = Field(default=0.1, ge=0)
    max_clip_seconds: float = Field(default=30.0, gt=0)
    max_text_chars: int = Field(default=400, ge=1)
    silence_dbfs: float = -60.0


class SplitOptions(Options):
    """Shares of val and test among groups whose split no source gives; the rest is train.

    `carve_val` gives the share of officially train groups that serve as val where a source has no val of its own.
    """

    val: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.1, ge=0, lt=1)
    carve_val: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _leave_some_for_train(self) -> SplitOptions:
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} + test {self.test} leave nothing for train; lower them")
        return self


class IngestOptions(Options):
    """All that the ingest stage depends on."""

    sources: tuple[SourceOptions, ...] = Field(min_length=1)
    checks: CheckOptions = CheckOptions()
    splits: SplitOptions = SplitOptions()

    @model_validator(mode="after")
    def _names_are_unique(self) -> IngestOptions:
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"source names must be unique, got {names}")
        return self
