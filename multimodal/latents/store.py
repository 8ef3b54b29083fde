"""Reads a store: latents by content id, off the memory map, whatever they are stored as."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multimodal.errors import DatasetError
from multimodal.fingerprint import read_index
from multimodal.latents.pace import Pace
from multimodal.latents.quantize import DTYPES, ErrorBound, dequantize
from multimodal.latents.shards import BITS, Shard
from multimodal.latents.writer import storage_of
from multimodal.sample import Modality, Sample, Task
from multimodal.storage import Precision, Storage


def read_card(path: Path) -> dict[str, Any]:
    """What the encoder of a store states about itself, empty where its index does not say; reads the index only."""
    card: dict[str, Any] = (read_index(path) or {}).get("encoder", {})
    return card


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
        pace: how fast it encoded them; None where there were none.
        precision: what the encoder computed in.
    """

    modality: Modality
    path: Path
    encoder_fingerprint: str
    hidden_size: int
    count: int
    failed: tuple[str, ...] = ()
    encoded: int = 0
    pace: Pace | None = None
    precision: Precision = Precision.FLOAT32


class LatentStore:
    """The finished latents of one encoder.

    A content is found by its id in constant time, in one dictionary over the shards; nothing else of them is read
    before it is asked for.

    Attributes:
        storage: how the states lie on disk; what is read is the same to the caller.
        card: what the encoder states about itself: widths, tokens, hashes of preprocessing and weights; empty in
            stores from before it did.
        error_bound: of all tokens of the store against what the encoder gave, None where a shard was never measured.

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
        self.storage = storage_of(index)
        self.card: dict[str, Any] = index.get("encoder", {})
        self.error_bound = ErrorBound.read(index.get("error_bound"))
        self.failed: dict[str, str] = dict(index["failed"])
        names = [shard["name"] for shard in index["shards"]]
        self._shards = {name: Shard.open(self.path / name, self.hidden_size, self.storage) for name in names}
        self._places = {
            content_id: (shard, row)
            for shard in self._shards.values()
            for row, content_id in enumerate(shard.content_ids)
        }

    def __contains__(self, content_id: object) -> bool:
        return content_id in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    @property
    def shards(self) -> dict[str, list[str]]:
        """Name of each shard's file -> the contents that it holds."""
        return {name: shard.content_ids for name, shard in self._shards.items()}

    def get(self, content_id: str) -> NDArray[np.floating[Any]]:
        """Hidden states of one content, [tokens, hidden_size], not to be written to.

        float16 is a view of the memory map; bfloat16, which numpy lacks, and int8 come as float32.
        """
        states = self.tensor(content_id)
        array: NDArray[np.floating[Any]] = (states.float() if states.dtype is torch.bfloat16 else states).numpy()
        array.flags.writeable = False
        return array

    def tensor(self, content_id: str) -> Tensor:
        """Hidden states of one content, [tokens, hidden_size].

        float16 and bfloat16 share the memory of the map: nothing is copied. int8 comes as float32.
        """
        shard, rows = self._rows(content_id)
        return shard.codes[rows] if shard.scales is None else dequantize(shard.codes[rows], shard.scales[rows])

    def num_bytes(self, content_id: str) -> int:
        """What the hidden states and the pooled vector of one content take up on disk."""
        shard, rows = self._rows(content_id)
        states = [shard.codes[rows]] + ([] if shard.scales is None else [shard.scales[rows]])
        return sum(int(part.nbytes) for part in states) + int(shard.pooled.itemsize * shard.pooled.shape[1])

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
        found = [self._rows(content_id) for content_id in ids]
        lengths = np.array([rows.stop - rows.start for _, rows in found], dtype=np.int64)
        longest = int(lengths.max(initial=0))
        dtype = DTYPES[self.storage]
        # Rows are copied by numpy, in a third of torch's time: torch pays for each slice.
        bits = np.zeros((len(found), longest, self.hidden_size), dtype=BITS[dtype])
        scales = np.zeros((len(found), longest), dtype=np.float32)
        for number, (shard, rows) in enumerate(found):
            bits[number, : lengths[number]] = shard.bits[rows]
            if shard.scales is not None:
                scales[number, : lengths[number]] = shard.scales[rows].numpy()
        mask = torch.from_numpy(np.arange(longest)[None, :] < lengths[:, None])
        codes = torch.from_numpy(bits).view(dtype)
        return dequantize(codes, torch.from_numpy(scales) if self.storage is Storage.INT8 else None), mask

    def _rows(self, content_id: str) -> tuple[Shard, slice]:
        shard, row = self._place(content_id)
        return shard, slice(shard.starts[row], shard.starts[row + 1])

    def _place(self, content_id: str) -> tuple[Shard, int]:
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
