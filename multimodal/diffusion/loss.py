"""A loss as a sum with its weight, and the cross-entropy that all losses are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class LossOutput:
    """A loss as a sum with its weight, so that means over any number of batches are exact.

    Args:
        sum: scalar, summed over weighted positions.
        weight: scalar, what to divide by.
    """

    sum: Tensor
    weight: Tensor

    @property
    def mean(self) -> Tensor:
        """Weighted mean; 0 where nothing was scored."""
        return self.sum / self.weight.clamp(min=1e-6)

    def __add__(self, other: LossOutput) -> LossOutput:
        return LossOutput(self.sum + other.sum, self.weight + other.weight)


def weighted_cross_entropy(logits: Tensor, x_0: Tensor, weights: Tensor | None = None) -> LossOutput:
    """Cross-entropy of clean tokens.

    Args:
        logits: float [positions, vocab], of the positions that are scored alone.
        x_0: int64 [positions].
        weights: float [positions]; None: all count alike.
    """
    losses = functional.cross_entropy(logits.float(), x_0, reduction="none")
    if weights is None:
        weights = torch.ones_like(losses)
    return LossOutput((losses * weights).sum(), weights.sum())
