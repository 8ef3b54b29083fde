"""What can be said about sources, checks and splits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from multimodal.ingest.duplicates.options import DecontaminationOptions, DuplicateOptions
from multimodal.ingest.languages import ENOUGH_BYTES, LANGUAGES
from multimodal.ingest.locations import LocationField
from multimodal.options import Options
from multimodal.sample import Split, Task

Column = Literal["path", "text", "input", "style", "group", "split", "speaker", "hint", "picture"]
"""Standard names of a row's columns."""

Kind = Literal[
    "csv", "tsv", "jsonl", "text", "parquet", "webdataset", "huggingface", "coco", "karpathy", "flickr",
    "librispeech", "common_voice", "ljspeech", "folder",
]  # fmt: skip
"""Kinds of sources."""

TextCheck = Literal["markup", "url", "email", "phone", "secret", "control", "file_name"]
"""What a text can be refused for."""


class SourceOptions(Options):
    """One source of rows.

    Args:
        name: names the source in the ledger and in reports.
        path: a file or a folder of one of the kinds, local or a URL of any file system that fsspec knows.
        task: what its rows are for.
        kind: what lies at the path; None recognises it (`multimodal.ingest.readers` lists the kinds).
        columns: standard name -> column of the manifest, where they differ; standard names are path, text, input,
            style, group, split, speaker, and of further inputs, each of which a row may leave empty: hint, a text
            that says what to expect, and picture, a media path.
        media_root: folder that `path` and `picture` entries are relative to; the manifest's own folder by default.
        style: style of all rows, where no column gives it: what restyle aims at, or a tag such as `de` or
            `alt-en-long` that captions, or texts of any task, shall be asked for by.
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
    """Limits that a row must keep; a row beyond one is quarantined with the reason of that name.

    Those on media are held against the file's header first: what is beyond them is never decoded.

    Args:
        max_file_bytes: of one media file.
        min_image_pixels, max_image_pixels: width times height.
        max_aspect_ratio: longer side over shorter side of a picture.
        max_frames: of an animation or of a picture of several pages; the first one is used.
        max_channels: of a sound; 5.1 has 6.
        min_sampling_rate, max_sampling_rate: Hz.
        max_text_chars: of a text after normalisation.
        max_json_depth: of nested values in a row's further columns.
        silence_dbfs: a sound whose peak stays below is silent.
        min_image_contrast: levels of 0 to 255 between a picture's darkest and brightest, in the channel where they
            differ most; 1 refuses pictures of a single colour, 0 none.
        max_clipped_share: share of a sound's samples at full scale; 1 refuses none.
        max_silent_share: share of a sound's windows of 20 ms that stay below `silence_dbfs`; 1 refuses none.
        min_bandwidth_share: share of the spectrum below half the sampling rate that a sound must fill, to 60 dB below
            its power; 0.25 refuses a telephone's sound in a file of 44.1 kHz, and pure tones; 0 refuses none.
        refuse_texts: what a target text must not hold; `file_name`: be the name of the row's media.
        scripts: Unicode scripts of which letters should be (LATIN, CYRILLIC, CJK, ...); none allows all.
        min_script_share: share of a text's letters that must be of them.
        languages: in which target texts should be (ISO 639 codes: en, de, zh, ...); none allows all, and tells none.
        min_language_confidence: the probability that a text is in one of them; 0 refuses none and still counts
            languages. Of short English texts 1 in 13,000 stays below the default, of foreign ones all.
        min_language_bytes: UTF-8 bytes of a text's letters below which its language is not judged.
        flag_robust_z: a sample is flagged where a simple feature of its picture, sound or text lies so many robust
            standard deviations from the median; it is kept. None flags none.
        max_robust_z: a sample that lies further out is quarantined; None refuses none. The fates of all rows wait in
            memory until the last one has been read; the media of what is refused stays in the dataset, unused.
    """

    max_file_bytes: int = Field(default=32 * 2**20, ge=1)
    min_image_pixels: int = Field(default=16 * 16, ge=1)
    max_image_pixels: int = Field(default=40_000_000, ge=1)
    max_aspect_ratio: float = Field(default=100.0, ge=1)
    max_frames: int = Field(default=1000, ge=1)
    max_channels: int = Field(default=8, ge=1)
    min_sampling_rate: int = Field(default=4_000, ge=1)
    max_sampling_rate: int = Field(default=192_000, ge=1)
    min_clip_seconds: float = Field(default=0.1, ge=0)
    max_clip_seconds: float = Field(default=30.0, gt=0)
    max_text_chars: int = Field(default=400, ge=1)
    max_json_depth: int = Field(default=32, ge=1)
    silence_dbfs: float = Field(default=-60.0, gt=-200)
    min_image_contrast: int = Field(default=0, ge=0, le=255)
    max_clipped_share: float = Field(default=1.0, ge=0, le=1)
    max_silent_share: float = Field(default=1.0, ge=0, le=1)
    min_bandwidth_share: float = Field(default=0.0, ge=0, le=1)
    refuse_texts: tuple[TextCheck, ...] = ()
    scripts: tuple[str, ...] = ()
    min_script_share: float = Field(default=0.5, gt=0, le=1)
    languages: tuple[str, ...] = ()
    min_language_confidence: float = Field(default=0.05, ge=0, le=1)
    min_language_bytes: int = Field(default=ENOUGH_BYTES, ge=1)
    flag_robust_z: float | None = Field(default=8.0, gt=0)
    max_robust_z: float | None = Field(default=None, gt=0)

    @field_validator("languages")
    @classmethod
    def _languages_are_known(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        for code in codes:
            if code not in LANGUAGES:
                near = next((one for one in (code.lower(), code.lower()[:2]) if one in LANGUAGES), "")
                hint = f"did you mean '{near}'?" if near else "codes are those of ISO 639: en, de, zh, ..."
                raise ValueError(f"language '{code}' cannot be told; {hint}")
        return codes


class SandboxOptions(Options):
    """The processes that media is decoded in, so that a hostile file costs one row and nothing else.

    Args:
        workers: processes; None is one per core that this program may use, at most 8.
        timeout_seconds: one file may take; its process is killed then.
        memory_mib: one process may use beyond what it needs to start.
    """

    workers: int | None = Field(default=None, ge=1, le=64)
    timeout_seconds: float = Field(default=20.0, gt=0)
    memory_mib: int = Field(default=1024, ge=64)


class SplitOptions(Options):
    """Shares of val and test among groups whose split no source gives; the rest is train.

    `carve_val` gives the share of officially train groups that serve as val where a source has no val of its own.
    `by_cluster` joins groups that share a content, a picture, a target text or near duplicates, and splits those.
    """

    val: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.1, ge=0, lt=1)
    carve_val: float = Field(default=0.0, ge=0, lt=1)
    by_cluster: bool = False

    @model_validator(mode="after")
    def _leave_some_for_train(self) -> SplitOptions:
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} + test {self.test} leave nothing for train; lower them")
        return self


class DriftOptions(Options):
    """How far a dataset may differ from its predecessor before the flow fails; None only reports.

    Args:
        psi: largest population stability index of any feature; above 0.25 a shift is usually called large.
        ks: largest two-sample Kolmogorov-Smirnov statistic of any measured feature, 0 to 1.
        rows: largest relative change in the number of input rows, 0.5 for half as many more or fewer.
        unseen_words: largest share of words that the predecessor's texts of the same task do not hold.
    """

    psi: float | None = Field(default=None, ge=0)
    ks: float | None = Field(default=None, ge=0, le=1)
    rows: float | None = Field(default=None, ge=0)
    unseen_words: float | None = Field(default=None, ge=0, le=1)


class IngestOptions(Options):
    """All that the ingest stage depends on; `drift` judges its result and changes nothing in it."""

    sources: tuple[SourceOptions, ...] = Field(min_length=1)
    checks: CheckOptions = CheckOptions()
    sandbox: SandboxOptions = SandboxOptions()
    splits: SplitOptions = SplitOptions()
    duplicates: DuplicateOptions = DuplicateOptions()
    decontamination: DecontaminationOptions = DecontaminationOptions()
    drift: DriftOptions = DriftOptions()

    @model_validator(mode="after")
    def _names_are_unique(self) -> IngestOptions:
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"source names must be unique, got {names}")
        return self
