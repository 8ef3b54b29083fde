"""One shard of a store: an Arrow file with one record batch, written whole and read by memory map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from multimodal.errors import DatasetError
from multimodal.latents.quantize import DTYPES, QuantizedStates
from multimodal.storage import Storage

ARROW_TYPES = {Storage.FLOAT16: pa.float16(), Storage.BFLOAT16: pa.uint16(), Storage.INT8: pa.int8()}
"""Of the values of `hidden_states`; bfloat16, which Arrow lacks, lies there as its bits."""

BITS = {torch.float16: np.float16, torch.bfloat16: np.int16, torch.int8: np.int8}
"""What numpy copies codes as."""


@dataclass(frozen=True, slots=True)
class LatentRows:
    """Some contents before they are written; their tokens lie one content after the other.

    Args:
        lengths: tokens of each content.
        states: all tokens.
        pooled: float32 [contents, pooled_size].
        readings: the text that the encoder itself reads off each.
    """

    content_ids: list[str]
    lengths: list[int]
    states: QuantizedStates
    pooled: NDArray[np.float32]
    readings: list[str]

    def take(self, numbers: Sequence[int]) -> LatentRows:
        """Only the contents of these numbers, in that order."""
        states = self.states.split(self.lengths)
        return LatentRows(
            [self.content_ids[number] for number in numbers],
            [self.lengths[number] for number in numbers],
            QuantizedStates.join([states[number] for number in numbers]),
            self.pooled[list(numbers)],
            [self.readings[number] for number in numbers],
        )


@dataclass(frozen=True, slots=True)
class Shard:
    """One memory-mapped shard: hidden states of row r are `codes[starts[r]:starts[r + 1]]`.

    Args:
        codes: [tokens, hidden_size] on the memory map. The map is private to the process: whoever writes into the
            tensor changes its own copy of a page, never the file.
        bits: the same memory for numpy, which has no bfloat16.
        scales: float32 [tokens], int8 only.
        pooled: float32 [rows, pooled_size].
    """

    content_ids: list[str]
    codes: Tensor
    bits: NDArray[Any]
    scales: Tensor | None
    starts: list[int]
    pooled: NDArray[np.float32]
    readings: list[str]

    @classmethod
    def open(cls, path: Path, hidden_size: int, storage: Storage) -> Shard:
        """Map a file.

        Raises:
            DatasetError: it is missing, damaged, or stored otherwise.
        """
        try:
            # Mapped by torch: Python's own map keeps a file open, and a store may have more shards than allowed files.
            memory = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
            batch = pa.ipc.open_file(pa.py_buffer(memory.numpy())).get_batch(0)
        except (OSError, RuntimeError, pa.ArrowInvalid) as error:
            cure = f"delete {path.parent} and run the encode stage again"
            raise DatasetError(f"latent shard {path} is missing or damaged: {error}; {cure}") from error
        states, pooled = batch.column("hidden_states"), batch.column("pooled")
        if states.type.value_type != ARROW_TYPES[storage]:
            raise DatasetError(f"latent shard {path} holds {states.type.value_type}, its index says {storage}")
        scales = _on_map(memory, batch.column("scales").values, torch.float32) if storage is Storage.INT8 else None
        codes = _on_map(memory, states.values, DTYPES[storage]).reshape(-1, hidden_size)
        return cls(
            batch.column("content_id").to_pylist(),
            codes,
            (codes.view(torch.int16) if storage is Storage.BFLOAT16 else codes).numpy(),
            scales,
            (states.offsets.to_numpy() // hidden_size).tolist(),
            pooled.values.to_numpy(zero_copy_only=True).reshape(len(batch), -1),
            batch.column("reading").to_pylist() if "reading" in batch.schema.names else [""] * len(batch),
        )


def shard_bytes(rows: Sequence[LatentRows], storage: Storage) -> bytes:
    """The Arrow file of some contents."""
    batch = _record_batch(rows, storage)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as file:
        file.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _record_batch(rows: Sequence[LatentRows], storage: Storage) -> pa.RecordBatch:
    codes = torch.cat([part.states.codes for part in rows])
    flat = codes.reshape(-1)
    bits = flat.view(torch.uint16) if storage is Storage.BFLOAT16 else flat
    lengths = [length for part in rows for length in part.lengths]
    pooled = np.concatenate([part.pooled for part in rows])
    values = pa.array(bits.numpy(), ARROW_TYPES[storage])
    columns = {
        "content_id": pa.array([content_id for part in rows for content_id in part.content_ids], pa.string()),
        "hidden_states": _ragged([length * codes.shape[1] for length in lengths], values),
        "pooled": pa.FixedSizeListArray.from_arrays(pa.array(pooled.reshape(-1), pa.float32()), pooled.shape[1]),
        "reading": pa.array([reading for part in rows for reading in part.readings], pa.string()),
    }
    scales = [part.states.scales for part in rows if part.states.scales is not None]
    if scales:
        columns["scales"] = _ragged(lengths, pa.array(torch.cat(scales).numpy(), pa.float32()))
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _ragged(lengths: Sequence[int], values: pa.Array) -> pa.LargeListArray:
    return pa.LargeListArray.from_arrays(pa.array(np.cumsum([0, *lengths], dtype=np.int64)), values)


def _on_map(memory: Tensor, values: pa.Array, dtype: torch.dtype) -> Tensor:
    """An Arrow array that lies on a memory map of bytes, as a tensor on the same map."""
    if not len(values):
        return torch.empty(0, dtype=dtype)
    start = values.buffers()[1].address - memory.data_ptr() + values.offset * dtype.itemsize
    return memory[start : start + len(values) * dtype.itemsize].view(dtype)
