"""The ingest stage: every row of every source gets exactly one fate, every media file is decoded fully once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from multimodal.dataset import Dataset, DatasetInfo, DatasetWriter, Fate, LedgerRow
from multimodal.errors import MediaError, UnreachableError
from multimodal.fingerprint import code_version, digest, fingerprint, read_index
from multimodal.ingest.drafts import Draft, Drafter
from multimodal.ingest.locations import Location, digest_of, relative_name, size_of
from multimodal.ingest.measures import Measures
from multimodal.ingest.options import CheckOptions, IngestOptions
from multimodal.ingest.outliers import Outlier
from multimodal.ingest.profiler import Profiler
from multimodal.ingest.reader import Reader, Row
from multimodal.ingest.readers import open_reader
from multimodal.ingest.reasons import Reason
from multimodal.ingest.refs import MediaRef, files_of, read_ref
from multimodal.ingest.sandbox import Media, Sandbox
from multimodal.ingest.splits import SplitAssigner
from multimodal.sample import Content, Modality

Progress = Callable[[int, int], None]
CODE = ("ingest", "dataset.py", "sample.py")
T = TypeVar("T")
ROWS_PER_CHUNK = 256
FILES_PER_TASK = 16
"""A thread hashes so many files at a time: one by one, handing them over would cost more than hashing them."""


def plan_ingest(options: IngestOptions, seed: int) -> dict[str, Any]:
    """See `multimodal.ingest.plan_ingest`."""
    return _plan(options, seed)[0]


def _plan(options: IngestOptions, seed: int) -> tuple[dict[str, Any], int]:
    """The parts of the fingerprint, and how many rows there are."""
    readers = [open_reader(source) for source in options.sources]
    with _hashers() as pool:
        found = [_inputs(reader, pool, options.checks) for reader in readers]
    inputs = [[reader.source.name, named] for reader, (named, _) in zip(readers, found, strict=True)]
    parts = {
        "inputs": digest(inputs),
        # How many processes decode, and how the result is judged, changes nothing in the result.
        "options": options.model_dump(mode="json", exclude={"sandbox": {"workers"}, "drift": True}),
        "seed": seed,
        "code": code_version(*CODE),
    }
    return parts, sum(rows for _, rows in found)


def ingest(options: IngestOptions, *, seed: int, workspace: Path, progress: Progress | None = None) -> DatasetInfo:
    """See `multimodal.ingest.ingest`."""
    parts, total = _plan(options, seed)
    key = fingerprint(parts)
    folder, ledger = workspace / "dataset" / key, workspace / "ledger" / key
    if read_index(folder) is None or read_index(ledger) is None:
        readers = [open_reader(source) for source in options.sources]
        sandbox = Sandbox(options.checks, options.sandbox)
        with DatasetWriter.open(folder, ledger, parts) as writer, sandbox:
            intake = _Intake(options, writer, sandbox)
            done = 0
            for chunk in _chunks(_claims(readers, options.checks)):
                intake.add(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
            intake.finish()
    return Dataset(folder).info


@dataclass(frozen=True, slots=True)
class _Claim:
    """A row on its way to its fate: a draft, or the error that quarantines it; and what was measured of its text."""

    source: str
    uri: str
    draft: Draft | MediaError
    measures: Measures


class _Intake:
    """Gives each row its fate; samples are written when all rows, and so all splits, are known."""

    def __init__(self, options: IngestOptions, writer: DatasetWriter, sandbox: Sandbox) -> None:
        self._checks, self._writer, self._sandbox = options.checks, writer, sandbox
        self._splits = SplitAssigner(options.splits)
        self._kept: dict[str, Draft] = {}
        self._media: dict[tuple[MediaRef, Modality], str | MediaError] = {}
        self._written: set[str] = set()
        self._profiler = Profiler(options.checks)
        self._waiting: list[LedgerRow] = []

    def add(self, chunk: list[_Claim]) -> None:
        """Decode the media files that have not been decoded yet, then settle the rows in order."""
        drafts = [claim.draft for claim in chunk if isinstance(claim.draft, Draft)]
        needed = dict.fromkeys(key for draft in drafts for key in draft.files)
        new = [key for key in needed if key not in self._media]
        for key, result in zip(new, self._sandbox.inspect(self._unread(*key) for key in new), strict=True):
            self._media[key] = result if isinstance(result, MediaError) else self._store(result[0])
            self._profiler.add_media(key, (result if isinstance(result, MediaError) else result[1]).measures)
        for claim in chunk:
            row = self._settle(claim)
            files = claim.draft.files if isinstance(claim.draft, Draft) else []
            self._profiler.add_row(claim.measures, files, row.fate is Fate.KEPT)
            if self._checks.max_robust_z is None:
                self._writer.add_ledger(row)
            else:  # whether it is an outlier shows when all rows are known
                self._waiting.append(row)

    def finish(self) -> None:
        """Refuse outliers where that is asked for, and write all kept samples with their splits."""
        refused = self._profiler.refuse_outliers(list(self._kept))
        for row in self._waiting:
            self._writer.add_ledger(_judged(row, refused))
        for sample_id, draft in self._kept.items():
            if sample_id not in refused:
                self._writer.add_sample(draft.sample(self._splits.split(draft.content_id)))
        self._profiler.write(self._writer.ledger_folder, list(self._kept))

    def _unread(self, ref: MediaRef, modality: Modality) -> Media:
        return partial(read_ref, ref, self._checks), modality

    def _store(self, content: Content) -> str:
        if content.content_id not in self._written:
            self._written.add(content.content_id)
            self._writer.add_media(content)
        return content.content_id

    def _settle(self, claim: _Claim) -> LedgerRow:
        source, uri, draft = claim.source, _printable(claim.uri), self._with_media(claim.draft)
        if isinstance(draft, MediaError):
            return LedgerRow(source, uri, Fate.QUARANTINED, draft.reason, _printable(draft.detail))
        self._splits.add(draft)
        first = self._kept.setdefault(draft.sample_id, draft)
        if first is draft:
            return LedgerRow(source, uri, Fate.KEPT, sample_id=draft.sample_id)
        same = f"same content and text as {first.source} {first.uri}"
        return LedgerRow(source, uri, Fate.DUPLICATE, "", same, draft.sample_id, first.sample_id)

    def _with_media(self, draft: Draft | MediaError) -> Draft | MediaError:
        if isinstance(draft, MediaError):
            return draft
        contents: dict[tuple[MediaRef, Modality], str] = {}
        for key in draft.files:
            found = self._media[key]
            if isinstance(found, MediaError):
                return found
            contents[key] = found
        return draft.with_contents(contents)


def _claims(readers: Iterable[Reader], checks: CheckOptions) -> Iterator[_Claim]:
    for reader in readers:
        drafter = Drafter(reader, checks)
        for row in reader.rows():
            measures: Measures = {}
            yield _Claim(reader.source.name, row.uri, _draft(drafter, row, measures), measures)


def _draft(drafter: Drafter, row: Row, measures: Measures) -> Draft | MediaError:
    try:
        return drafter.draft(row, measures)
    except MediaError as error:
        return error


def _judged(row: LedgerRow, refused: Mapping[str, Outlier]) -> LedgerRow:
    """The row, or its quarantine where it, or the sample that it repeats, is an outlier."""
    outlier = refused.get(row.duplicate_of or row.sample_id)
    return row if outlier is None else LedgerRow(row.source, row.uri, Fate.QUARANTINED, Reason.OUTLIER, str(outlier))


def _chunks(items: Iterable[T], size: int = ROWS_PER_CHUNK) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _inputs(reader: Reader, pool: Executor, checks: CheckOptions) -> tuple[list[list[str]], int]:
    """Name and digest of every file that the rows of a source come from or refer to, and the number of rows."""
    names: dict[Location, str] = {}
    rows = 0
    for row in reader.rows():
        rows += 1
        for ref, column in ((reader.media_path(row), "path"), (reader.picture_path(row), "picture")):
            for file in () if ref is None else files_of(ref):
                names.setdefault(file, row.values.get(column, "").strip())
    largest: dict[Location, float] = dict.fromkeys(names, checks.max_file_bytes)
    for path in (*reader.text_files(), *reader.source.split_files.values()):
        names[path], largest[path] = relative_name(path, reader.media_root), math.inf
    found = chain.from_iterable(pool.map(_digests, _chunks(largest.items(), FILES_PER_TASK)))
    return [[_printable(name), one] for name, one in zip(names.values(), found, strict=True)], rows


def _digests(files: list[tuple[Location, float]]) -> list[str]:
    return [_digest_or_problem(*file) for file in files]


def _digest_or_problem(path: Location, max_bytes: float) -> str:
    try:
        if not path.is_file():
            return "missing"
        size = size_of(path)
        return digest_of(path) if size <= max_bytes else f"{size} bytes"
    except UnreachableError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return f"unreadable: {type(error).__name__}"


def _hashers() -> ThreadPoolExecutor:
    """Threads are enough: hashing lets go of the interpreter while it works."""
    return ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="hash")


def _printable(text: str) -> str:
    """Text that can be stored as UTF-8, whatever bytes a file name was made of."""
    return text.encode("utf-8", "backslashreplace").decode()
