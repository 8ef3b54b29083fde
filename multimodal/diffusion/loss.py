"""Losses of masked diffusion: plain cross-entropy to train with, the likelihood bound to report."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from multimodal.diffusion.schedule import Schedule


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
        """Weighted mean; 0 where nothing was masked."""
        return self.sum / self.weight.clamp(min=1e-6)


def masked_cross_entropy(logits: Tensor, x_0: Tensor, weights: Tensor | None = None) -> LossOutput:
    """Cross-entropy of the clean tokens at masked positions, unweighted in t (LLaDA; more compute-efficient
    than the bound's 1/t weights).

    Args:
        logits: float [masked, vocab], of the masked positions alone.
        x_0: int64 [masked].
        weights: float [masked], further weights of positions.
    """
    losses = functional.cross_entropy(logits.float(), x_0, reduction="none")
    if weights is None:
        weights = torch.ones_like(losses)
    return LossOutput((losses * weights).sum(), weights.sum())


def likelihood_bound(logits: Tensor, x_0: Tensor, masked: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """Continuous-time negative ELBO in nats per sequence, one draw of t (MDLM, equation 10).

    Args:
        logits, x_0, masked: as in `masked_cross_entropy`.
        t: float [batch], uniform on (0, 1].

    Returns:
        float [batch]; its mean over t is an upper bound of -log p(x_0).
    """
    noise = schedule(t)
    losses = functional.cross_entropy(logits.float().transpose(1, 2), x_0, reduction="none")
    weight: Tensor = -noise.d_alpha / (1 - noise.alpha)
    return weight * (losses * masked).sum(-1)
