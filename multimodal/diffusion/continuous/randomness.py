"""Where noise comes from: one generator for all rows, or one per row, so that a row does not depend on its batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class Randomness(ABC):
    """A source of noise for batches [rows, ...]."""

    @abstractmethod
    def normal(self, like: Tensor) -> Tensor:
        """Standard normal noise of the shape, dtype and device of `like`."""

    @abstractmethod
    def uniform(self, like: Tensor) -> Tensor:
        """One number in [0, 1) for each row of `like`, float [rows]."""


@dataclass(frozen=True, slots=True)
class SharedRandomness(Randomness):
    """One generator, on the CPU, for all rows: for training and for simulations."""

    generator: torch.Generator

    def normal(self, like: Tensor) -> Tensor:
        """As in `Randomness.normal`."""
        return torch.randn(like.shape, generator=self.generator, dtype=like.dtype).to(like.device)

    def uniform(self, like: Tensor) -> Tensor:
        """As in `Randomness.uniform`."""
        return torch.rand(len(like), generator=self.generator, dtype=like.dtype).to(like.device)


@dataclass(frozen=True, slots=True)
class RowRandomness(Randomness):
    """One generator, on the CPU, for each row: for writing texts."""

    generators: Sequence[torch.Generator]

    def normal(self, like: Tensor) -> Tensor:
        """As in `Randomness.normal`."""
        rows = [torch.randn(like.shape[1:], generator=generator, dtype=like.dtype) for generator in self.generators]
        return torch.stack(rows).to(like.device)

    def uniform(self, like: Tensor) -> Tensor:
        """As in `Randomness.uniform`."""
        rows = [torch.rand((), generator=generator, dtype=like.dtype) for generator in self.generators]
        return torch.stack(rows).to(like.device)

    def rows(self, index: Tensor) -> RowRandomness:
        """Some of the rows."""
        return RowRandomness([self.generators[row] for row in index.tolist()])
