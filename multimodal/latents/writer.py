"""Appends to a store: quantises, measures what that loses, writes shards and lists them in the index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from multimodal.errors import DatasetError
from multimodal.fingerprint import read_index, write_file, write_index
from multimodal.latents.finished import FinishedShard, finish_shard
from multimodal.latents.locks import index_lock, writing
from multimodal.latents.quantize import ErrorBound, QuantizedStates, quantize
from multimodal.latents.shards import LatentRows
from multimodal.storage import Storage

CONTENTS_PER_SHARD = 512


class LatentWriter:
    """Appends latents to a store; a shard is finished every `contents_per_shard` contents and at the end of the block.

    Several writers may append to one store at the same time. When the block ends with an error, what was added since
    the last finished shard is dropped.

    Args:
        card: what the encoder states about itself, for the index.

    Raises:
        DatasetError: the store belongs to another encoder, has another width, or stores its states otherwise.
    """

    def __init__(
        self,
        path: Path,
        encoder_fingerprint: str,
        hidden_size: int,
        contents_per_shard: int = CONTENTS_PER_SHARD,
        storage: Storage = Storage.FLOAT16,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        self._path = Path(path)
        self._card = {"encoder": dict(card)} if card else {}
        self._storage = storage
        self._head = {"encoder_fingerprint": encoder_fingerprint, "hidden_size": hidden_size, "storage": str(storage)}
        self._contents_per_shard = contents_per_shard
        self._rows: list[LatentRows] = []
        self._failed: dict[str, str] = {}
        self._open = ExitStack()
        self._check_head(read_index(self._path) or self._head)

    def __enter__(self) -> Self:
        self._open.enter_context(writing(self._path))
        self.flush()  # a store that will stay empty is a finished store too
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            if kind is None:
                self.flush()

    def add(self, content_id: str, hidden_states: NDArray[Any], pooled: NDArray[Any], reading: str = "") -> None:
        """Add one content.

        Args:
            hidden_states: [tokens, hidden_size], stored as the store does.
            pooled: [pooled_size], stored as float32.
            reading: the text that the encoder itself reads off the content.
        """
        if hidden_states.ndim != 2:
            self._refuse(content_id, hidden_states.shape)
        states = np.array(hidden_states, dtype=np.float32)  # a copy: torch wants an array that it might write to
        self.add_quantized(content_id, quantize(torch.from_numpy(states), self._storage), pooled, reading)

    def add_quantized(self, content_id: str, states: QuantizedStates, pooled: NDArray[Any], reading: str = "") -> None:
        """Add one content whose states were quantised where they were made, in the storage of this store."""
        if states.codes.shape[1] != self._head["hidden_size"]:
            self._refuse(content_id, states.codes.shape)
        vector = pooled.astype(np.float32)[None]
        self._rows.append(LatentRows([content_id], [len(states.codes)], states, vector, [reading]))
        if len(self._rows) >= self._contents_per_shard:
            self.flush()

    def fail(self, content_id: str, problem: str) -> None:
        """Note that a content cannot be encoded by this encoder, so that it is not tried again."""
        self._failed[content_id] = problem

    def flush(self) -> None:
        """Finish a shard of what was added, and list it in the index."""
        self.add_shard(finish_shard(self._rows, self._storage, self._failed))
        self._rows, self._failed = [], {}

    def add_shard(self, shard: FinishedShard) -> None:
        """Write a shard that was made elsewhere, and list it and its failed contents in the index.

        Shards may come in any order, and from several threads. What the shard holds is in the store when this returns.
        """
        entry = self._write_shard(shard) if shard.count else None
        with index_lock(self._path):
            index = read_index(self._path) or {**self._head, "shards": [], "failed": {}}
            self._check_head(index)
            shards = [*index["shards"], *([entry] if entry else [])]
            failed = {**index["failed"], **shard.failed}
            write_index(self._path, index | self._head | self._card | {"failed": failed} | listing(shards))

    def note(self, facts: Mapping[str, Any]) -> None:
        """Write something about the store into its index, beside what is there."""
        with index_lock(self._path):
            index = read_index(self._path)
            if index is None or any(index.get(key) != value for key, value in facts.items()):
                empty = {**self._head, "failed": {}} | listing([])
                write_index(self._path, (index or empty) | dict(facts))

    def _write_shard(self, shard: FinishedShard) -> dict[str, Any]:
        number = len(list(self._path.glob("shard-*.arrow")))
        name = f"shard-{number:05d}-{shard.digest[:8]}.arrow"
        write_file(self._path / name, shard.data)
        return shard.entry(name)

    def _check_head(self, index: Mapping[str, Any]) -> None:
        found = {key: index.get(key) for key in self._head}
        found["storage"] = storage_of(index)
        if found != self._head:
            raise DatasetError(f"the latents at {self._path} are of {found}, not of {self._head}; use another folder")

    def _refuse(self, content_id: str, shape: Iterable[int]) -> None:
        wanted = f"[n, {self._head['hidden_size']}]"
        raise DatasetError(f"latents of {content_id}: {tuple(shape)}, expected {wanted}")


def storage_of(index: Mapping[str, Any]) -> Storage:
    """How a store keeps its states; stores from before there was a choice keep float16."""
    return Storage(index.get("storage", Storage.FLOAT16))


def listing(shards: list[dict[str, Any]]) -> dict[str, Any]:
    """The part of an index that is about its shards: the overall error bound is null where one was never measured."""
    bounds = [ErrorBound.read(shard.get("error_bound")) for shard in shards]
    known = [bound for bound in bounds if bound is not None]
    overall = asdict(ErrorBound.largest(known)) if len(known) == len(bounds) else None
    return {"shards": shards, "error_bound": overall}
