"""Datasets and ledgers: every content and sample against its id, both against their Merkle roots and each other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from multimodal.dataset import Fate, merkle_roots
from multimodal.fingerprint import INDEX
from multimodal.merkle import RowTree
from multimodal.sample import Modality, Sample, content_digest, sample_digest
from multimodal.verification.files import check_files, checked_index
from multimodal.verification.finding import Check

READ_ERRORS = (pa.ArrowException, OSError, ValueError)
"""What damaged Parquet raises; a text that is no UTF-8 any more is a ValueError."""

_SAMPLE_FIELDS = tuple(column.name for column in fields(Sample) if column.name != "originals")
"""What a dataset's digest covers: `originals` says how a text was found, not what the sample is."""


def check_dataset(check: Check) -> None:
    """Hash every content, sample and file of a dataset again, and compare its samples with its ledger."""
    index = checked_index(check)
    if index is None:
        return
    check_files(check, index)
    contents = _check_contents(check)
    samples = _check_samples(check, contents)
    if not (contents.is_whole and samples.is_whole):
        check.notes.append("counts and roots were not compared, since a part cannot be read")
        return
    _check_index(check, index, contents, samples)
    ledger = check.path.parent.parent / "ledger" / check.path.name
    if (ledger / INDEX).is_file():
        _check_against_ledger(check, samples, ledger)
    else:
        check.notes.append(f"its ledger is not at {ledger}: samples were not compared with it")


def check_ledger(check: Check) -> None:
    """Hash every file of a ledger again, and count its rows."""
    index = checked_index(check)
    if index is None:
        return
    check_files(check, index)
    fates: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    kept: set[str] = set()
    repeated: set[str] = set()
    rows = _Rows(check, "part")
    for _, row in rows:
        fates[row["fate"]] += 1
        if row["fate"] == Fate.QUARANTINED:
            reasons[row["reason"]] += 1
        elif row["fate"] == Fate.KEPT:
            kept.add(row["sample_id"])
        else:
            repeated.add(row["duplicate_of"])
    if rows.is_whole:
        counts = {"rows": sum(fates.values())} | {fate.value: fates[fate.value] for fate in Fate}
        check.expect(INDEX, "counts", index.get("counts"), counts)
        check.expect(INDEX, "quarantined rows by reason", index.get("by_reason"), dict(reasons))
        for sample_id in sorted(repeated - kept):
            check.differs("part", f"rows repeat sample {sample_id}, which is not among the kept ones")


@dataclass
class _Rows:
    """The rows of a folder's Parquet parts, each with its part's name; parts that cannot be read are differences."""

    check: Check
    prefix: str
    is_whole: bool = True

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for path in sorted(self.check.path.glob(f"{self.prefix}-*.parquet")):
            try:
                with pq.ParquetFile(path) as file:
                    for group in range(file.num_row_groups):
                        for row in file.read_row_group(group).to_pylist():
                            self.check.checked += 1
                            yield path.name, row
            except READ_ERRORS as error:
                self.is_whole = False
                self.check.differs(path.name, f"cannot be read: {str(error).splitlines()[0]}")


@dataclass
class _Contents:
    """Contents as found."""

    is_whole: bool = True
    ids: set[str] = field(default_factory=set)
    count: int = 0
    tree: RowTree = field(default_factory=RowTree)


def _check_contents(check: Check) -> _Contents:
    found, rows = _Contents(), _Rows(check, "media")
    for part, row in rows:
        content_id = row["content_id"]
        if (is_now := content_digest(row["data"])) != content_id:
            check.differs(part, f"content {content_id} has other bytes: they are those of {is_now}")
        if content_id in found.ids:
            check.differs(part, f"content {content_id} is there twice")
        found.ids.add(content_id)
        found.count += 1
        found.tree.add({"content_id": content_id, "modality": row["modality"]})
    found.is_whole = rows.is_whole
    return found


@dataclass
class _Samples:
    """Samples as found; `digest` is over the samples in their order, as in the index."""

    is_whole: bool = True
    ids: set[str] = field(default_factory=set)
    splits: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    count: int = 0
    tree: RowTree = field(default_factory=RowTree)
    digest: Any = field(default_factory=hashlib.sha256)


def _check_samples(check: Check, contents: _Contents) -> _Samples:
    found, rows = _Samples(), _Rows(check, "part")
    for part, row in rows:
        place = f"{part} row {found.count + 1}"
        if row["sample_id"] in found.ids:
            check.differs(place, f"sample {row['sample_id']} is there twice")
        _check_ids(check, place, row, contents)
        found.ids.add(row["sample_id"])
        found.splits[row["split"]] += 1
        found.tasks[row["task"]] += 1
        found.count += 1
        found.tree.add(row)
        found.digest.update(("\x1f".join(row[name] for name in _SAMPLE_FIELDS if name in row) + "\x1e").encode())
    found.is_whole = rows.is_whole
    return found


def _check_ids(check: Check, place: str, row: dict[str, Any], contents: _Contents) -> None:
    """A row's ids against what they are digests of."""
    further = (row.get("hint", ""), row.get("picture", ""))
    is_now = sample_digest(row["content_id"], row["task"], row["style"], row["text"], *further)
    if is_now != row["sample_id"]:
        what = f"sample {row['sample_id']} ({row['uri']}) has another content, task, style or text: they give {is_now}"
        check.differs(place, what)
    if row["modality"] == Modality.TEXT:
        if content_digest((row["input"] or row["text"]).encode()) != row["content_id"]:
            check.differs(place, f"sample {row['sample_id']} ({row['uri']}) has another input than its content id says")
        needed = [row.get("picture", "")]
    else:
        needed = [row["content_id"], row.get("picture", "")]
    for content_id in filter(None, needed):
        if contents.is_whole and content_id not in contents.ids:
            check.differs(place, f"sample {row['sample_id']} ({row['uri']}) needs content {content_id}, which is gone")


def _check_index(check: Check, index: dict[str, Any], contents: _Contents, samples: _Samples) -> None:
    """Counts and digests of all rows against the index."""
    check.expect(INDEX, "kept samples", index.get("counts", {}).get("kept"), samples.count)
    check.expect(INDEX, "samples by split", index.get("by_split"), dict(samples.splits))
    check.expect(INDEX, "samples by task", index.get("by_task"), dict(samples.tasks))
    check.expect(INDEX, "pictures and sounds", index.get("media"), contents.count)
    written: dict[str, str] | None = index.get("merkle")
    same_digest = samples.digest.hexdigest() == index.get("digest")
    if written is None:
        check.notes.append("written before datasets had Merkle roots: samples are compared by their digest in order")
        check.expect("samples", "digest", index.get("digest"), samples.digest.hexdigest())
        return
    found = merkle_roots(samples.tree, contents.tree)
    for name in ("samples", "contents"):
        check.expect(name, "Merkle root", written.get(name), found[name])
    if not same_digest and found["samples"] == written.get("samples"):
        check.differs("samples", "are the same, in another order")


def _check_against_ledger(check: Check, samples: _Samples, ledger: Path) -> None:
    rows = _Rows(Check(ledger, "ledger"), "part")
    kept = {row["sample_id"] for _, row in rows if row["fate"] == Fate.KEPT}
    if not rows.is_whole:
        check.notes.append(f"its ledger at {ledger} cannot be read: samples were not compared with it")
        return
    for sample_id in sorted(samples.ids - kept):
        check.differs("samples", f"sample {sample_id} is not among the ledger's kept rows")
    for sample_id in sorted(kept - samples.ids):
        check.differs("samples", f"sample {sample_id} was kept by the ledger, and is gone")
