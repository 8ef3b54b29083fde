"""The latent store: hidden states of contents, keyed by content id, in append-only Arrow shards read by memory map.

    latents/<encoder fp>/shard-00000-<digest>.arrow    one record batch: content_id, hidden_states (ragged), pooled,
                                                       reading (the text that the encoder itself reads, "" if none)
    latents/<encoder fp>/index.json                    the finished shards and the contents that cannot be encoded

Hidden states of all rows of a shard lie in one flat float16 array with offsets, so that a row is a slice of the
memory map. A shard that the index does not name was never finished, and is not read.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from multimodal.errors import DatasetError
from multimodal.fingerprint import read_index, write_file, write_index
from multimodal.sample import Modality, Sample, Task

CONTENTS_PER_SHARD = 512


@dataclass(frozen=True, slots=True)
class LatentsInfo:
    """What the encode stage returns for one modality.

    Args:
        path: folder of the store, which may also hold contents of other datasets.
        encoder_fingerprint: of the encoder that made it.
        hidden_size: width of the hidden states.
        count: contents of the dataset that the store holds.
        failed: content ids of the dataset that the encoder could not decode; the store has no latents for them.
        encoded: how many contents this run had to encode; 0 where all were there.
    """

    modality: Modality
    path: Path
    encoder_fingerprint: str
    hidden_size: int
    count: int
    failed: tuple[str, ...] = ()
    encoded: int = 0


class LatentWriter:
    """Appends latents to a store; a shard is finished every `contents_per_shard` contents and at the end of the block.

    Several writers may append to one store at the same time. When the block ends with an error, what was added since
    the last finished shard is dropped.

    Raises:
        DatasetError: the store belongs to another encoder or has another width.
    """

    def __init__(
        self, path: Path, encoder_fingerprint: str, hidden_size: int, contents_per_shard: int = CONTENTS_PER_SHARD
    ) -> None:
        self._path = Path(path)
        self._head = {"encoder_fingerprint": encoder_fingerprint, "hidden_size": hidden_size}
        self._contents_per_shard = contents_per_shard
        self._rows: list[_Row] = []
        self._failed: dict[str, str] = {}
        self._check_head(read_index(self._path) or self._head)

    def __enter__(self) -> Self:
        self.flush()  # a store that will stay empty is a finished store too
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()

    def add(self, content_id: str, hidden_states: NDArray[Any], pooled: NDArray[Any], reading: str = "") -> None:
        """Add one content.

        Args:
            hidden_states: [tokens, hidden_size], stored as float16.
            pooled: [pooled_size], stored as float32.
            reading: the text that the encoder itself reads off the content.
        """
        if hidden_states.ndim != 2 or hidden_states.shape[1] != self._head["hidden_size"]:
            raise DatasetError(
                f"latents of {content_id}: {hidden_states.shape}, expected [n, {self._head['hidden_size']}]"
            )
        self._rows.append((content_id, hidden_states.astype(np.float16), pooled.astype(np.float32), reading))
        if len(self._rows) >= self._contents_per_shard:
            self.flush()

    def fail(self, content_id: str, problem: str) -> None:
        """Note that a content cannot be encoded by this encoder, so that it is not tried again."""
        self._failed[content_id] = problem

    def flush(self) -> None:
        """Finish a shard of what was added, and list it in the index."""
        shard = self._write_shard() if self._rows else None
        with _locked(self._path):
            index = read_index(self._path) or {**self._head, "shards": [], "failed": {}}
            self._check_head(index)
            shards = [*index["shards"], *([shard] if shard else [])]
            write_index(self._path, {**index, "shards": shards, "failed": {**index["failed"], **self._failed}})
        self._rows, self._failed = [], {}

    def _write_shard(self) -> dict[str, Any]:
        batch = _record_batch(self._rows)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batch.schema) as file:
            file.write_batch(batch)
        data = sink.getvalue().to_pybytes()
        number = len(list(self._path.glob("shard-*.arrow")))
        digest = hashlib.sha256(data).hexdigest()
        name = f"shard-{number:05d}-{digest[:8]}.arrow"
        write_file(self._path / name, data)
        return {"name": name, "count": len(self._rows), "digest": digest}

    def _check_head(self, index: Mapping[str, Any]) -> None:
        found = {key: index.get(key) for key in self._head}
        if found != self._head:
            raise DatasetError(f"the latents at {self._path} are of {found}, not of {self._head}; use another folder")


class LatentStore:
    """The finished latents of one encoder.

    Raises:
        DatasetError: there is no store at the path, or a shard that its index names is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        index = read_index(self.path)
        if index is None:
            raise DatasetError(f"no latents at {self.path}; run the encode stage (`multimodal encode CONF`)")
        self.hidden_size: int = index["hidden_size"]
        self.encoder_fingerprint: str = index["encoder_fingerprint"]
        self.failed: dict[str, str] = dict(index["failed"])
        self._shards = [_Shard.open(self.path / shard["name"], self.hidden_size) for shard in index["shards"]]
        self._places = {
            content_id: (shard, row) for shard in self._shards for row, content_id in enumerate(shard.content_ids)
        }

    def __contains__(self, content_id: object) -> bool:
        return content_id in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def get(self, content_id: str) -> NDArray[np.float16]:
        """Hidden states of one content, [tokens, hidden_size]: a read-only view of the memory map."""
        shard, row = self._place(content_id)
        return shard.hidden_states[shard.starts[row] : shard.starts[row + 1]]

    def pooled(self, content_id: str) -> NDArray[np.float32]:
        """The pooled vector of one content, [pooled_size]: a read-only view of the memory map."""
        shard, row = self._place(content_id)
        vector: NDArray[np.float32] = shard.pooled[row]
        return vector

    def reading(self, content_id: str) -> str:
        """The text that the encoder itself reads off one content; "" where it reads none."""
        shard, row = self._place(content_id)
        return shard.readings[row]

    def batch(self, ids: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Hidden states of some contents, padded with zeros.

        Returns:
            hidden_states float32 [batch, tokens, hidden_size] and attention_mask bool [batch, tokens].
        """
        rows = [self.get(content_id) for content_id in ids]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        longest = int(lengths.max(initial=0))
        padded = np.zeros((len(rows), longest, self.hidden_size), dtype=np.float16)
        for number, row in enumerate(rows):
            padded[number, : len(row)] = row
        mask = np.arange(longest)[None, :] < lengths[:, None]
        return torch.from_numpy(padded).float(), torch.from_numpy(mask)

    def _place(self, content_id: str) -> tuple[_Shard, int]:
        place = self._places.get(content_id)
        if place is None:
            why = self.failed.get(content_id, "run the encode stage for its dataset (`multimodal encode CONF`)")
            raise DatasetError(f"no latents of content {content_id} in {self.path}: {why}")
        return place


def is_encoded(sample: Sample, stores: Mapping[Modality, Container[str]]) -> bool:
    """Whether the latents of all that a sample is conditioned on are there; infill reads none but of a picture."""
    needed = {(Modality.IMAGE, sample.picture)} if sample.picture else set()
    if sample.task is not Task.INFILL:
        needed.add((sample.modality, sample.content_id))
    return all(content_id in stores.get(modality, ()) for modality, content_id in needed)


@dataclass(frozen=True, slots=True)
class _Shard:
    """One memory-mapped shard: hidden states of row r are `hidden_states[starts[r]:starts[r + 1]]`."""

    content_ids: list[str]
    hidden_states: NDArray[np.float16]
    starts: list[int]
    pooled: NDArray[np.float32]
    readings: list[str]

    @classmethod
    def open(cls, path: Path, hidden_size: int) -> _Shard:
        try:
            batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        except (OSError, pa.ArrowInvalid) as error:
            cure = f"delete {path.parent} and run the encode stage again"
            raise DatasetError(f"latent shard {path} is missing or damaged: {error}; {cure}") from error
        states, pooled = batch.column("hidden_states"), batch.column("pooled")
        return cls(
            batch.column("content_id").to_pylist(),
            states.values.to_numpy(zero_copy_only=True).reshape(-1, hidden_size),
            (states.offsets.to_numpy() // hidden_size).tolist(),
            pooled.values.to_numpy(zero_copy_only=True).reshape(len(batch), -1),
            batch.column("reading").to_pylist() if "reading" in batch.schema.names else [""] * len(batch),
        )


_Row = tuple[str, NDArray[np.float16], NDArray[np.float32], str]


def _record_batch(rows: Sequence[_Row]) -> pa.RecordBatch:
    ids, states, pooled, readings = zip(*rows, strict=True)
    offsets = np.cumsum([0, *(state.size for state in states)], dtype=np.int64)
    flat = np.concatenate([state.ravel() for state in states])
    columns = {
        "content_id": pa.array(ids, pa.string()),
        "hidden_states": pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat, pa.float16())),
        "pooled": pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(pooled), pa.float32()), pooled[0].size),
        "reading": pa.array(readings, pa.string()),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer of the index at a time, across processes; a killed process holds no lock."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
