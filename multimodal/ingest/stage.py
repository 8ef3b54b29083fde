"""The ingest stage: every row of every source gets exactly one fate, every media file is decoded fully once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from multimodal.dataset import (
    LEDGER_SCHEMA,
    Dataset,
    DatasetInfo,
    DatasetWriter,
    Fate,
    LedgerRow,
    ledger_row,
    ledger_values,
)
from multimodal.errors import MediaError
from multimodal.fingerprint import code_version, digest, fingerprint, read_index
from multimodal.ingest.cluster_splits import ClusterSplitAssigner
from multimodal.ingest.drafts import Draft, Drafter
from multimodal.ingest.duplicates.decoded import SameDecoded
from multimodal.ingest.duplicates.finder import NearDuplicateFinder
from multimodal.ingest.duplicates.handling import near_duplicates, settle
from multimodal.ingest.duplicates.leaks import LeakFinder, refuse_leaks
from multimodal.ingest.duplicates.report import read_report, write_report
from multimodal.ingest.inputs import Inputs, chunks, find_inputs, printable, refuse_changes
from multimodal.ingest.measures import Measures
from multimodal.ingest.media import Extra, MediaFacts
from multimodal.ingest.memory import IngestMemory
from multimodal.ingest.options import CheckOptions, IngestOptions
from multimodal.ingest.outliers import Outlier
from multimodal.ingest.profiler import File, Profiler
from multimodal.ingest.reader import Reader
from multimodal.ingest.readers import open_reader
from multimodal.ingest.reasons import Reason
from multimodal.ingest.refs import MediaRef, name_of, read_ref
from multimodal.ingest.sandbox import Media, Sandbox
from multimodal.ingest.splits import SplitAssigner
from multimodal.ingest.waiting import KeptRows, WaitingRows
from multimodal.media_parts import MEDIA
from multimodal.parts import part_paths
from multimodal.sample import Content, Modality, UnreadContent

Progress = Callable[[int, int], None]
CODE = ("ingest", "dataset.py", "media_parts.py", "parts.py", "sample.py")
ROWS_PER_CHUNK = 256


def plan_ingest(options: IngestOptions, seed: int, workspace: Path | None = None) -> dict[str, Any]:
    """See `multimodal.ingest.plan_ingest`."""
    if workspace is None or not workspace.is_dir():
        return _plan(_readers(options), options, seed, None)[0]
    with IngestMemory.open(workspace) as memory:
        return _plan(_readers(options), options, seed, memory)[0]


def _readers(options: IngestOptions) -> list[Reader]:
    return [open_reader(source) for source in options.sources]


def _plan(
    readers: Iterable[Reader], options: IngestOptions, seed: int, memory: IngestMemory | None
) -> tuple[dict[str, Any], Inputs]:
    """The parts of the fingerprint, and what the sources hold."""
    found = find_inputs(readers, options.checks, memory)
    parts = {
        "inputs": digest(found.named),
        # How many processes decode, and how the result is judged, changes nothing in the result.
        "options": options.model_dump(mode="json", exclude={"sandbox": {"workers"}, "drift": True}),
        "seed": seed,
        "code": code_version(*CODE),
    }
    return parts, found


def ingest(options: IngestOptions, *, seed: int, workspace: Path, progress: Progress | None = None) -> DatasetInfo:
    """See `multimodal.ingest.ingest`."""
    readers = _readers(options)  # a bad source leaves nothing behind
    workspace.mkdir(parents=True, exist_ok=True)
    with IngestMemory.open(workspace) as memory:
        parts, found = _plan(readers, options, seed, memory)
        key = fingerprint(parts)
        folder, ledger = workspace / "dataset" / key, workspace / "ledger" / key
        if read_index(folder) is None or read_index(ledger) is None:
            with (
                NearDuplicateFinder.open(options, workspace) as near,
                DatasetWriter.open(folder, ledger, parts, found.rows, memory.is_as_written) as writer,
                Sandbox(options.checks, options.sandbox, memory, near=near) as sandbox,
                closing(_Intake(options, writer, sandbox, near, found.digests)) as intake,
            ):
                done = 0
                for chunk in chunks(_claims(readers, options.checks), ROWS_PER_CHUNK):
                    intake.add(chunk)
                    done += len(chunk)
                    if progress is not None:
                        progress(done, sum(found.rows.values()))
                intake.finish()
                refuse_changes(readers, found, memory)
            memory.keep_parts(part_paths(folder, MEDIA))
    refuse_leaks(read_report(ledger).contamination, options.decontamination.max_share)
    return Dataset(folder).info


@dataclass(frozen=True, slots=True)
class _Claim:
    """A row on its way to its fate.

    Args:
        draft: of its sample, or the error that quarantines it.
        files: that a draft names.
        measures: what was measured of its text.
    """

    source: str
    uri: str
    draft: Draft | MediaError
    files: Sequence[File]
    measures: Measures


class _Intake:
    """Gives each row its fate; samples are written when all rows, and so all splits, are known."""

    def __init__(
        self,
        options: IngestOptions,
        writer: DatasetWriter,
        sandbox: Sandbox,
        near: NearDuplicateFinder,
        digests: Mapping[Path, str],
    ) -> None:
        self._digests = digests
        self._checks, self._writer, self._sandbox, self._near = options.checks, writer, sandbox, near
        self._duplicates = options.duplicates
        self._leaks = options.decontamination
        self._splits = (
            ClusterSplitAssigner(options.splits, self._leaks)
            if options.splits.by_cluster
            else SplitAssigner(options.splits)
        )
        self._kept = KeptRows(writer.ledger_folder)
        self._pictures: set[str] = set()
        self._media: dict[File, str | MediaError] = {}
        self._written: set[str] = set()
        self._same = SameDecoded(self._decoded)
        self._stand_ins: dict[File, str] = {}
        self._profiler = Profiler(options.checks)
        # What is nearly the same, and what stands out, shows when all rows are known.
        must_wait = not self._duplicates.are_off or self._checks.max_robust_z is not None
        self._waiting = WaitingRows(writer.ledger_folder, len(LEDGER_SCHEMA)) if must_wait else None

    def add(self, chunk: list[_Claim]) -> None:
        """Decode the media files that have not been decoded yet, then settle the rows in order."""
        needed = dict.fromkeys(key for claim in chunk for key in claim.files)
        new = [key for key in needed if key not in self._media]
        for key, result in zip(new, self._sandbox.inspect(self._unread(*key) for key in new), strict=True):
            self._media[key] = result if isinstance(result, MediaError) else self._store(key, *result)
            self._profiler.add_media(key, (result if isinstance(result, MediaError) else result[1]).measures)
        for claim in chunk:
            row = self._settle(claim)
            self._profiler.add_row(claim.measures, claim.files, row.fate is Fate.KEPT)
            if self._waiting is None:
                self._writer.add_ledger(row)
            else:
                self._waiting.add(ledger_values(row))

    def finish(self) -> None:
        """Settle near duplicates and outliers; write the kept samples with their splits, and what was found."""
        near = self._near.find()
        found = near_duplicates(self._kept, near, self._splits.official, self._duplicates)
        refused = self._profiler.refuse_outliers(self._kept.sample_id)
        for values in self._waiting or ():
            self._writer.add_ledger(_judged(settle(ledger_row(values), found), refused))
        left_out = {*refused, *(sample_id for sample_id, nearly in found.items() if nearly.is_dropped)}
        moved = self._splits.join(near) if isinstance(self._splits, ClusterSplitAssigner) else []
        leaks = LeakFinder(self._splits.split, near, self._pictures, self._leaks)

        def stay() -> Iterator[tuple[str, Draft]]:
            return (each for each in self._kept.items() if each[0] not in left_out)

        for sample_id, draft in stay():
            split, origin = self._splits.split(draft.content_id), self._splits.origin(draft.content_id)
            self._writer.add_sample(draft.sample(sample_id, split), origin)
            leaks.add(draft, split)
        write_report(self._writer.ledger_folder, self._near.compared, near, moved, leaks.find(stay))
        self._profiler.write(self._writer.ledger_folder, self._kept.sample_id)

    def close(self) -> None:
        """Forget all rows."""
        self._kept.close()
        if self._waiting is not None:
            self._waiting.close()

    def _unread(self, ref: MediaRef, modality: Modality) -> Media:
        # A digest of 64 hex digits is a file's; anything else says why there is none.
        digest = self._digests.get(ref, "") if isinstance(ref, Path) else ""
        return Media(partial(read_ref, ref, self._checks), modality, digest[:32] if len(digest) == 64 else "")

    def _store(self, file: File, content: Content | UnreadContent, facts: MediaFacts) -> str:
        content_id, modality = content.content_id, content.modality
        self._near.keep(content_id, modality, facts.fingerprint)
        if content_id in self._written:
            return content_id
        if self._duplicates.same_decoded:
            first = self._same.first(file, content_id, facts.measures, facts.decoded)
            if first is not None:
                self._stand_ins[file] = printable(name_of(first[0][0]))
                return first[1]
        self._written.add(content_id)
        self._writer.add_media(content)
        self._near.add(content_id, modality)
        return content_id

    def _decoded(self, file: File, content_id: str) -> str:
        """Digest of what a file decodes to, that has been decoded well before; "" where that fails now."""
        media = self._unread(*file)._replace(content_id=content_id, extra=Extra.DIGEST)
        (result,) = self._sandbox.inspect([media])
        return "" if isinstance(result, MediaError) else result[1].decoded

    def _settle(self, claim: _Claim) -> LedgerRow:
        source, uri, draft = claim.source, claim.uri, self._with_contents(claim)
        if isinstance(draft, MediaError):
            return LedgerRow(source, uri, Fate.QUARANTINED, draft.reason, printable(draft.detail))
        self._splits.add(draft)
        self._near.add_texts(draft)
        sample_id = draft.sample_id
        first = self._kept.add(sample_id, draft)
        names = [self._stand_ins[file] for file in claim.files if file in self._stand_ins] if self._stand_ins else ()
        detail = f"decodes to the same content as {' and '.join(names)}" if names else ""
        if first is None:
            if draft.picture_id:
                self._pictures.add(draft.picture_id)
            return LedgerRow(source, uri, Fate.KEPT, "", detail, sample_id)
        same = "; ".join(filter(None, (f"same content and text as {first.source} {first.uri}", detail)))
        return LedgerRow(source, uri, Fate.DUPLICATE, "", same, sample_id, sample_id)

    def _with_contents(self, claim: _Claim) -> Draft | MediaError:
        """The draft with the ids of what its files hold, or why the first of them cannot be used."""
        if isinstance(claim.draft, MediaError):
            return claim.draft
        found: list[str] = []
        for file in claim.files:
            content = self._media[file]
            if isinstance(content, MediaError):
                return content
            found.append(content)
        claim.draft.take_contents(found)
        return claim.draft


def _claims(readers: Iterable[Reader], checks: CheckOptions) -> Iterator[_Claim]:
    for reader in readers:
        drafter = Drafter(reader, checks)
        for row in reader.rows():
            measures: Measures = {}
            uri = row.uri if row.uri.isascii() else printable(row.uri)
            try:
                draft = drafter.draft(row, measures)
                draft.uri = uri
                yield _Claim(reader.source.name, uri, draft, draft.files, measures)
            except MediaError as error:
                yield _Claim(reader.source.name, uri, error.alone(), (), measures)


def _judged(row: LedgerRow, refused: Mapping[str, Outlier]) -> LedgerRow:
    """The row, or its quarantine where it, or the sample that it repeats, is an outlier."""
    outlier = refused.get(row.duplicate_of or row.sample_id)
    return row if outlier is None else LedgerRow(row.source, row.uri, Fate.QUARANTINED, Reason.OUTLIER, str(outlier))
