"""A loss as a sum with its weight, the cross-entropy that all losses are made of, and the entropy of right answers."""

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


def confidence_loss(logits: Tensor, x_0: Tensor, weights: Tensor) -> LossOutput:
    """Entropy of the predictions whose likeliest token is right, in nats: CAP, confidence-aware parallel training
    (LLaDA2.0, Bie et al. 2025, L_conf; the certainty loss of dParallel, Chen et al. 2025).

        sum of w_i H(p_i) / sum of w_i, over the positions i with argmax p_i = x_0_i

    Cross-entropy hardly asks for more where the answer is right already; samplers that unmask by confidence do. Wrong
    predictions are left alone.

    Args:
        logits: float [positions, vocab], of masks.
        x_0: int64 [positions].
        weights: float [positions].
    """
    right = logits.argmax(-1) == x_0
    log_probs = logits[right].float().log_softmax(-1)
    entropies = -(log_probs.exp() * log_probs).sum(-1)
    return LossOutput((entropies * weights[right]).sum(), weights[right].sum())
