"""Which of some known contents is most like another one: nearest neighbours of pooled vectors, by cosine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multimodal.latents import LatentStore
from multimodal.sample import Sample


def unit_rows(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Vectors [p] as rows of length 1, float32 [count, p]: their products are cosines."""
    rows = np.stack([np.asarray(vector, dtype=np.float32) for vector in vectors])
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-9), dtype=np.float32)


class CaptionStore(LatentStore):
    """Latents of pictures, each with the train caption of the picture most like it as its reading.

    Never its own caption, nor one of its own group: what is retrieved in training is then as far off as what will be
    retrieved for new pictures. A reading costs one product of all train vectors with one vector, and is remembered.

    Args:
        path: of the store.
        train: samples with a caption; of several captions of a picture the first is given.
        asked: further samples whose readings will be asked for.
    """

    def __init__(self, path: Path, train: Sequence[Sample], asked: Sequence[Sample] = ()) -> None:
        super().__init__(path)
        self.known = list({sample.content_id: sample for sample in reversed(train)}.values())[::-1]
        self._groups = {sample.content_id: sample.group for sample in (*asked, *self.known)}
        self._found: dict[str, str] = {}

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """Of the known pictures, of length 1, float32 [known, p]."""
        return unit_rows([self.pooled(sample.content_id) for sample in self.known])

    def reading(self, content_id: str) -> str:
        """The caption of the nearest known picture of another group, "" where there is none."""
        if content_id not in self._found:
            likeness = self.vectors @ unit_rows([self.pooled(content_id)])[0]
            likeness[self._own(content_id)] = -np.inf
            nearest = int(np.argmax(likeness))
            self._found[content_id] = self.known[nearest].text if np.isfinite(likeness[nearest]) else ""
        return self._found[content_id]

    def _own(self, content_id: str) -> list[int]:
        group = self._groups.get(content_id)
        return self._by_group.get(group, []) if group is not None else []

    @cached_property
    def _by_group(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, sample in enumerate(self.known):
            rows.setdefault(sample.group, []).append(row)
        return rows
