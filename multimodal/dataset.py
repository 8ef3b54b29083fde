"""The dataset on disk: Parquet parts of samples and of media, a ledger of every input row, an index written last.

dataset/<fp>/part-*.parquet    kept samples, in the order of the sources
dataset/<fp>/media-*.parquet   bytes of each distinct picture and sound, once however many samples share it
                               (`multimodal.media_parts`)
dataset/<fp>/index.json        parts of the fingerprint, counts, Merkle roots, SHA-256 of the parts
ledger/<fp>/part-*.parquet     every input row and its fate
ledger/<fp>/index.json
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from multimodal.errors import DatasetError
from multimodal.fingerprint import file_digests, new_folder, read_index, write_index
from multimodal.ledger_balance import check_balance
from multimodal.media_parts import MEDIA, MediaWriter
from multimodal.merkle import RowTree, node_hash
from multimodal.parts import PartWriter, part_paths
from multimodal.sample import FURTHER_INPUTS, Content, Modality, Sample, Split, Task, UnreadContent


class Fate(StrEnum):
    """What became of an input row."""

    KEPT = "kept"
    QUARANTINED = "quarantined"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One input row and its fate.

    Args:
        source, uri: where the row came from.
        fate: kept, quarantined or duplicate.
        reason: why it was quarantined (a value of `multimodal.ingest.Reason`), else "".
        detail: what exactly was found.
        sample_id: of the kept sample, or of the duplicate; "" where the row never became one.
        duplicate_of: sample_id of the kept sample that the row repeats, else "".
    """

    source: str
    uri: str
    fate: Fate
    reason: str = ""
    detail: str = ""
    sample_id: str = ""
    duplicate_of: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """Input rows by fate; `rows == kept + quarantined + duplicate`, always."""

    rows: int
    kept: int
    quarantined: int
    duplicate: int


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What the ingest stage returns.

    Args:
        path: folder of the dataset.
        fingerprint: of everything that the dataset depends on.
        ledger: folder of its ledger.
        counts: input rows by fate.
        by_split, by_task: kept samples of each.
        by_reason: quarantined rows of each reason.
        digest: SHA-256 over all samples in order (media by their content ids), 64 hex digits.
        by_input: kept samples with each further input, of those that any has.
        merkle_root: of `merkle_roots`, 64 hex digits: what the dataset holds, whatever order it is written in; "" where
            the dataset was written before there was one.
    """

    path: Path
    fingerprint: str
    ledger: Path
    counts: Counts
    by_split: Mapping[str, int]
    by_task: Mapping[str, int]
    by_reason: Mapping[str, int]
    digest: str
    by_input: Mapping[str, int] = field(default_factory=dict)
    merkle_root: str = ""


def _text_schema(record: type[Any]) -> pa.Schema:
    return pa.schema([(field.name, pa.string()) for field in fields(record)])


SPLIT_ORIGIN = "split_origin"
"""Column of the samples' parts that says what decided the split (a value of `multimodal.ingest.splits.SplitOrigin`)."""

_SAMPLE_FIELDS = _text_schema(Sample)
SAMPLE_SCHEMA = _SAMPLE_FIELDS.append(pa.field(SPLIT_ORIGIN, pa.string()))
LEDGER_SCHEMA = _text_schema(LedgerRow)
_SAMPLE_NAMES = frozenset(_SAMPLE_FIELDS.names)
_sample_values = attrgetter(*_SAMPLE_FIELDS.names)
ledger_values = attrgetter(*LEDGER_SCHEMA.names)
"""The columns of a ledger row."""


class DatasetWriter:
    """Writes a dataset and its ledger; both appear when the block of `DatasetWriter.open` ends well, or not at all.

    Other files may be written into `ledger_folder`, which has a temporary name until then.
    """

    def __init__(
        self, folder: Path, ledger: Path, media: MediaWriter, rows_in: Mapping[str, int] | None = None
    ) -> None:
        self._folder, self.ledger_folder, self._rows_in = folder, ledger, rows_in
        self._samples = PartWriter(folder, "part", SAMPLE_SCHEMA)
        self._media = media
        self._ledger = PartWriter(ledger, "part", LEDGER_SCHEMA)
        self._digest = hashlib.sha256()
        self._sample_tree, self._content_tree = RowTree(), RowTree()
        self._by: dict[str, Counter[str]] = {name: Counter() for name in ("fate", *_COUNTED)}
        self._fates: dict[str, Counter[str]] = defaultdict(Counter)
        self._kept: Counter[str] = Counter()

    @classmethod
    @contextmanager
    def open(
        cls,
        folder: Path,
        ledger: Path,
        parts: Mapping[str, Any],
        rows_in: Mapping[str, int] | None = None,
        is_as_written: Callable[[Path], bool] | None = None,
    ) -> Iterator[Self]:
        """A writer for `folder` and `ledger`; the dataset's index, the last to appear, holds `parts`.

        Args:
            rows_in: source -> rows that it has, counted apart from their fates; None leaves that uncompared.
            is_as_written: see `MediaWriter`.

        Raises:
            DatasetError: at the end, where the ledger of a source does not balance.
        """
        with ExitStack() as stack:
            # The ledger leaves the stack first, and so is there before the dataset that counts on it.
            own, own_ledger = stack.enter_context(new_folder(folder)), stack.enter_context(new_folder(ledger))
            writer = cls(own, own_ledger, MediaWriter(own, folder.parent, is_as_written), rows_in)
            yield writer
            writer._finish(parts)

    def add_media(self, content: Content | UnreadContent) -> None:
        """Add the bytes of one picture or sound."""
        self._media.add(content)
        self._content_tree.add({"content_id": content.content_id, "modality": content.modality.value})

    def add_sample(self, sample: Sample, split_origin: str = "") -> None:
        """Add one kept sample, and what decided its split."""
        row = _sample_values(sample)
        whole = (*row, split_origin)
        self._samples.add(whole)
        self._sample_tree.add(dict(zip(SAMPLE_SCHEMA.names, whole, strict=True)))
        self._kept[sample.source] += 1
        # `originals`, the last, says how a text was found, not what the sample is: no key depends on it.
        self._digest.update(("\x1f".join(row[:-1]) + "\x1e").encode())
        self._by["split"][sample.split.value] += 1
        self._by["task"][sample.task.value] += 1
        for name in FURTHER_INPUTS:
            if getattr(sample, name):
                self._by["input"][name] += 1

    def add_ledger(self, row: LedgerRow) -> None:
        """Add the fate of one input row."""
        self._ledger.add(ledger_values(row))
        self._by["fate"][row.fate.value] += 1
        self._fates[row.source][row.fate.value] += 1
        if row.fate is Fate.QUARANTINED:
            self._by["reason"][row.reason] += 1

    def _finish(self, parts: Mapping[str, Any]) -> None:
        for writer in (self._samples, self._media, self._ledger):
            writer.close()
        check_balance(self._fates, self._kept, self._rows_in)
        counts = {"rows": self._ledger.count} | {fate.value: self._by["fate"][fate.value] for fate in Fate}
        by = {f"by_{name}": dict(sorted(self._by[name].items())) for name in _COUNTED}
        ledger = {"counts": counts, "by_reason": by["by_reason"], "files": file_digests(self.ledger_folder)}
        write_index(self.ledger_folder, ledger)
        index = {"parts": dict(parts), "counts": counts, "media": self._media.count, "digest": self._digest.hexdigest()}
        index |= {"media_parts": self._media.keys, "files": file_digests(self._folder, self._media.digests)}
        index |= {"merkle": merkle_roots(self._sample_tree, self._content_tree)}
        write_index(self._folder, index | by)


_COUNTED = ("split", "task", "reason", "input")


def merkle_roots(samples: RowTree, contents: RowTree) -> dict[str, str]:
    """The Merkle roots of a dataset, 64 hex digits each.

    `samples` is over all columns of the kept samples, `contents` over id and modality of the pictures and sounds, whose
    ids are digests of their bytes (texts are columns of their samples). `root` is the node above the two.
    """
    roots = {"samples": samples.root, "contents": contents.root}
    return {name: root.hex() for name, root in (roots | {"root": node_hash(*roots.values())}).items()}


class Dataset:
    """A finished dataset on disk.

    Raises:
        DatasetError: the folder is absent or was not finished.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        index = read_index(self.path)
        if index is None:
            raise DatasetError(f"no finished dataset at {self.path}; run the ingest stage (`multimodal ingest CONF`)")
        self._index = index

    def table(self, *names: str) -> pa.Table:
        """Columns of the kept samples in the order of the sources, for counting: no `Sample` is made."""
        schema = pa.schema([SAMPLE_SCHEMA.field(name) for name in names])
        parts = [pq.read_table(path, columns=list(names)) for path in part_paths(self.path, "part")]
        return pa.concat_tables([schema.empty_table(), *parts])

    @property
    def info(self) -> DatasetInfo:
        """Where it is, and its counts."""
        by = {f"by_{name}": dict(self._index.get(f"by_{name}", {})) for name in _COUNTED}
        ledger = self.path.parent.parent / "ledger" / self.path.name
        counts = Counts(**self._index["counts"])
        root = self._index.get("merkle", {}).get("root", "")
        return DatasetInfo(
            self.path, self.path.name, ledger, counts, **by, digest=self._index["digest"], merkle_root=root
        )

    def samples(self, split: Split | None = None, task: Task | None = None) -> list[Sample]:
        """The kept samples in the order of the sources, all or those of one split and task."""
        return [
            sample
            for sample in self._samples
            if (split is None or sample.split is split) and (task is None or sample.task is task)
        ]

    def content_ids(self, modality: Modality) -> list[str]:
        """Contents to encode, sorted; infill conditions on its own canvas and has none but a picture beside it."""
        found = {s.content_id for s in self._samples if s.modality is modality and s.task is not Task.INFILL}
        if modality is Modality.IMAGE:
            found |= {sample.picture for sample in self._samples if sample.picture}
        return sorted(found)

    def contents(
        self, content_ids: Collection[str] | None = None, modality: Modality | None = None
    ) -> Iterator[Content]:
        """Contents with their bytes, each once: media from their parts, texts from the samples' inputs."""
        wanted = None if content_ids is None else set(content_ids)
        if modality is not Modality.TEXT:
            yield from self._media(wanted, modality)
        if modality in (None, Modality.TEXT):
            yield from self._texts(wanted)

    @cached_property
    def _samples(self) -> list[Sample]:
        rows = (row for path in part_paths(self.path, "part") for row in pq.read_table(path).to_pylist())
        return [_sample(row) for row in rows]

    def _media(self, wanted: set[str] | None, modality: Modality | None) -> Iterator[Content]:
        for path in part_paths(self.path, MEDIA):
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    yield from media_of_group(file, group, wanted, modality)

    def _texts(self, wanted: set[str] | None) -> Iterator[Content]:
        seen: set[str] = set()
        for sample in self._samples:
            key = sample.content_id
            is_text = sample.modality is Modality.TEXT and sample.task is not Task.INFILL
            if is_text and key not in seen and (wanted is None or key in wanted):
                seen.add(key)
                yield Content(key, Modality.TEXT, sample.input.encode())


def read_ledger(path: Path, fate: Fate | None = None) -> list[LedgerRow]:
    """The rows of a ledger, all or those of one fate.

    Raises:
        DatasetError: the folder is absent or was not finished.
    """
    if read_index(path) is None:
        raise DatasetError(f"no finished ledger at {path}; run the ingest stage (`multimodal ingest CONF`)")
    rows = (row for part in part_paths(path, "part") for row in pq.read_table(part).to_pylist())
    return [LedgerRow(**row | {"fate": Fate(row["fate"])}) for row in rows if fate in (None, row["fate"])]


def ledger_row(values: Sequence[str]) -> LedgerRow:
    """The row of such columns as `ledger_values` gives."""
    row = dict(zip(LEDGER_SCHEMA.names, values, strict=True))
    return LedgerRow(**row | {"fate": Fate(row["fate"])})


def _sample(row: dict[str, Any]) -> Sample:
    kinds = {"modality": Modality(row["modality"]), "task": Task(row["task"]), "split": Split(row["split"])}
    return Sample(**{name: value for name, value in row.items() if name in _SAMPLE_NAMES} | kinds)


def media_of_group(
    file: pq.ParquetFile, group: int, wanted: set[str] | None, modality: Modality | None
) -> Iterator[Content]:
    """Contents of one row group of a part; its bytes are read only if it holds something wanted."""
    keys = file.read_row_group(group, columns=["content_id", "modality"]).to_pylist()
    chosen = [
        (number, key["content_id"], Modality(key["modality"]))
        for number, key in enumerate(keys)
        if (wanted is None or key["content_id"] in wanted) and modality in (None, key["modality"])
    ]
    if chosen:
        data = file.read_row_group(group, columns=["data"]).column("data")
        for number, content_id, kind in chosen:
            yield Content(content_id, kind, data[number].as_py())
