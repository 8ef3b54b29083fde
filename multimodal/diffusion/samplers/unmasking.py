"""Samplers that unmask the surest positions and never take a token back; they differ in how many go in one step."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal.diffusion.samplers.base import Proposal, Sampler, Step, ranks


@dataclass(frozen=True, slots=True)
class UnmaskingSampler(Sampler):
    """Unmask in parallel what a rule allows, and in each step at least its share of the masks that are left, so that
    `num_steps` calls always suffice.

    A token that would stand beside itself is written only when a later call has seen its neighbour: tokens unmasked
    in one step do not see each other, and that is where parallel decoding stutters.
    """

    def _write(self, step: Step, proposal: Proposal) -> tuple[Tensor, Tensor]:
        masked = step.tokens == self.mask_token_id
        reveal = masked
        if not step.last:
            sureness = self._sureness(proposal, masked)
            order = ranks(sureness, masked)
            reveal = masked & (self._allowed(sureness, masked, order) | (order < self._least(step, masked)))
            reveal = self._without_repeats(step.tokens, proposal.tokens, reveal, order)
        return (
            torch.where(reveal, proposal.tokens, step.tokens),
            torch.where(reveal, proposal.probability, step.confidence),
        )

    @abstractmethod
    def _allowed(self, sureness: Tensor, masked: Tensor, order: Tensor) -> Tensor:
        """bool [rows, length]: masks that may be unmasked at once; `order` ranks them, the surest first."""

    def _sureness(self, proposal: Proposal, masked: Tensor) -> Tensor:
        """float [rows, length], of masks: what they are ranked by."""
        return proposal.probability

    def _least(self, step: Step, masked: Tensor) -> Tensor:
        """int64 [rows, 1]: how many must be unmasked in this step."""
        return -(-masked.sum(-1, keepdim=True) // (self.num_steps - step.index))

    def _without_repeats(self, tokens: Tensor, proposal: Tensor, reveal: Tensor, order: Tensor) -> Tensor:
        after = torch.where(reveal, proposal, tokens)
        repeats = torch.zeros_like(reveal)
        repeats[:, 1:] = reveal[:, 1:] & (after[:, 1:] == after[:, :-1])
        if self.repeatable is not None:
            repeats &= ~self.repeatable[proposal]
        return reveal & (~repeats | (order == 0))


@dataclass(frozen=True, slots=True)
class ConfidenceSampler(UnmaskingSampler):
    """Unmask every position whose probability reaches a threshold (Fast-dLLM, Wu et al. 2025).

    Args:
        threshold: probability from which a token is unmasked at once.
    """

    threshold: float = 0.9

    def _allowed(self, sureness: Tensor, masked: Tensor, order: Tensor) -> Tensor:
        return sureness >= self.threshold


@dataclass(frozen=True, slots=True)
class EntropyBoundedSampler(UnmaskingSampler):
    """Unmask the longest run of positions, by rising entropy, whose entropies but for the largest sum to at most
    `entropy_bound` (EB-Sampler, Ben-Hamu et al. 2025): what they could tell each other is bounded by that sum.

    Args:
        entropy_bound: gamma, in nats; 0 unmasks one position a step.
    """

    entropy_bound: float = 0.1

    def _sureness(self, proposal: Proposal, masked: Tensor) -> Tensor:
        entropies = torch.special.entr(proposal.probs[masked]).sum(-1)  # nats
        return torch.zeros_like(proposal.probability).index_put((masked,), -entropies)

    def _allowed(self, sureness: Tensor, masked: Tensor, order: Tensor) -> Tensor:
        surest_first = order.argsort(-1)
        rising = -sureness.gather(-1, surest_first)
        without_largest = rising.cumsum(-1) - rising  # the run is sorted: its largest entropy is its last
        return (without_largest <= self.entropy_bound).gather(-1, order)


@dataclass(frozen=True, slots=True)
class SafeSampler(UnmaskingSampler):
    """Unmask the n surest positions while (n + 1) (1 - p_n) stays below a factor (Fast-dLLM, Wu et al. 2025, theorem 1:
    below 1 the likeliest tokens taken in parallel are the likeliest text).

    Args:
        safety: the factor; higher is faster and less safe.
    """

    safety: float = 1.0

    def _allowed(self, sureness: Tensor, masked: Tensor, order: Tensor) -> Tensor:
        falling = sureness.gather(-1, order.argsort(-1))
        count = torch.arange(1, falling.shape[-1] + 1, device=falling.device)
        safe = (count + 1) * (1 - falling) < self.safety
        return safe.cumprod(-1).bool().gather(-1, order)


REVEALED: dict[str, Callable[[float], float]] = {
    "linear": lambda s: s,
    "cosine": lambda s: 1 - math.cos(math.pi / 2 * s),
    "convex": lambda s: (s / 3) / (1 - 2 * s / 3),
}
"""Share of tokens that are written after a share s of the steps: LLaDA's linear one (Nie et al. 2025), MaskGIT's cosine
(Chang et al. 2022), and the convex shift with a = 1/3 of LaViDa (Li et al. 2025): few tokens first, many last."""


@dataclass(frozen=True, slots=True)
class ScheduledSampler(UnmaskingSampler):
    """Unmask a fixed number of positions each step, the surest first, sure or not. With the linear schedule this is
    the low-confidence remasking of LLaDA.

    Args:
        unmasking: "linear", "cosine" or "convex".
    """

    unmasking: str = "linear"

    def _allowed(self, sureness: Tensor, masked: Tensor, order: Tensor) -> Tensor:
        return torch.zeros_like(masked)

    def _least(self, step: Step, masked: Tensor) -> Tensor:
        total = step.open_positions.sum(-1, keepdim=True)
        goal = (total * REVEALED[self.unmasking]((step.index + 1) / self.num_steps) - 1e-6).ceil().long()
        due: Tensor = goal - (total - masked.sum(-1, keepdim=True))
        return due.clamp(min=1)


@dataclass(frozen=True, slots=True)
class BestFirstSampler(UnmaskingSampler):
    """DDCap's best-first inference (Zhu et al. 2022): equal numbers of tokens a step, by its confidence, which is the
    softmax *of the probabilities*."""

    def _sureness(self, proposal: Proposal, masked: Tensor) -> Tensor:
        sureness: Tensor = proposal.probs.softmax(-1).gather(-1, proposal.tokens[..., None]).squeeze(-1)
        return sureness

    def _allowed(self, sureness: Tensor, masked: Tensor, order: Tensor) -> Tensor:
        return torch.zeros_like(masked)
