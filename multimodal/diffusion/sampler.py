"""Samplers: the loop around the denoiser that turns masks into text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(tokens [rows, length], indices of those rows in the batch [rows]) -> logits [rows, length, vocab]."""


@dataclass(frozen=True, slots=True)
class SamplerOutput:
    """What a sampler wrote.

    Args:
        tokens: int64 [batch, length], no masks left.
        confidence: float [batch, length]: probability of each token when it was unmasked; 1 for given tokens.
        nfe: int64 [batch]: calls of the denoiser that each row took part in.
        trajectory: the canvas before the first and after each step, each int64 [batch, length]; empty unless asked for.
    """

    tokens: Tensor
    confidence: Tensor
    nfe: Tensor
    trajectory: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class ConfidenceSampler:
    """Unmask in parallel what the denoiser is sure of (threshold decoding of Fast-dLLM, Wu et al. 2025).

    Each step unmasks every position whose probability reaches `threshold`, and at least its share of the masks that
    are left, so that `num_steps` calls always suffice. A row that has no masks left leaves the batch.

    Args:
        mask_token_id: the absorbing state; never written.
        num_steps: most calls of the denoiser.
        threshold: probability from which a token is unmasked at once.
        temperature: 0 takes the likeliest token; above, tokens are drawn from softmax(logits / temperature).
        repeatable: bool [vocab], tokens that may stand beside themselves (the padding); others are unmasked side by
            side only when a later call has seen the neighbour.
    """

    mask_token_id: int
    num_steps: int
    threshold: float
    temperature: float = 0.0
    repeatable: Tensor | None = None

    @torch.no_grad()
    def sample(
        self,
        denoiser: Denoiser,
        canvas: Tensor,
        generators: Sequence[torch.Generator] | None = None,
        keep_trajectory: bool = False,
    ) -> SamplerOutput:
        """Fill the masks of `canvas`, int64 [batch, length]; every other token stays.

        Args:
            denoiser: gives logits for some rows of the canvas.
            canvas: what to start from.
            generators: one per row, needed when `temperature` is above 0: a row's text then does not depend on
                the batch that it is in.
            keep_trajectory: record the canvas after each step.
        """
        tokens = canvas.clone()
        confidence = torch.ones(canvas.shape)
        nfe = torch.zeros(len(canvas), dtype=torch.long)
        trajectory = [tokens.cpu().clone()] if keep_trajectory else []
        for steps_left in range(self.num_steps, 0, -1):
            rows = (tokens == self.mask_token_id).any(-1).nonzero().squeeze(-1)
            if not len(rows):
                break
            noise = [generators[row] for row in rows.tolist()] if generators else None
            proposal, probability = self._propose(denoiser(tokens[rows], rows), noise)
            reveal = self._choose(tokens[rows], proposal, probability, steps_left)
            tokens[rows] = torch.where(reveal, proposal, tokens[rows])
            confidence[rows] = torch.where(reveal, probability, confidence[rows])
            nfe[rows] += 1
            if keep_trajectory:
                trajectory.append(tokens.cpu().clone())
        return SamplerOutput(tokens, confidence, nfe, tuple(trajectory))

    def _propose(self, logits: Tensor, generators: Sequence[torch.Generator] | None) -> tuple[Tensor, Tensor]:
        """A token for every position and its probability, each [rows, length]."""
        logits = logits.float().index_fill(-1, torch.tensor(self.mask_token_id), -torch.inf)
        probs = logits.softmax(-1)
        if self.temperature == 0 or generators is None:
            probability, proposal = probs.max(-1)
            return proposal, probability
        proposal = (logits.double() / self.temperature + _gumbel(logits.shape[1:], generators)).argmax(-1)
        return proposal, probs.gather(-1, proposal[..., None]).squeeze(-1)

    def _choose(self, tokens: Tensor, proposal: Tensor, probability: Tensor, steps_left: int) -> Tensor:
        """bool [rows, length]: the masks to be replaced in this step."""
        masked = tokens == self.mask_token_id
        if steps_left == 1:
            return masked
        order = torch.where(masked, probability, -1.0).argsort(dim=-1, descending=True, stable=True).argsort(-1)
        share = -(-masked.sum(-1, keepdim=True) // steps_left)
        reveal = masked & ((probability >= self.threshold) | (order < share))
        return self._without_repeats(tokens, proposal, reveal, order)

    def _without_repeats(self, tokens: Tensor, proposal: Tensor, reveal: Tensor, order: Tensor) -> Tensor:
        """Hold back a token that would repeat its left neighbour, unless it is the row's surest: tokens unmasked in
        one step do not see each other, and that is where parallel decoding stutters."""
        after = torch.where(reveal, proposal, tokens)
        repeats = torch.zeros_like(reveal)
        repeats[:, 1:] = reveal[:, 1:] & (after[:, 1:] == after[:, :-1])
        if self.repeatable is not None:
            repeats &= ~self.repeatable[proposal]
        return reveal & (~repeats | (order == 0))


def _gumbel(shape: torch.Size, generators: Sequence[torch.Generator]) -> Tensor:
    """Gumbel noise [rows, *shape], each row from its own generator; in float64, since in float32 its clipped tail
    acts like a lower temperature (Zheng et al. 2024)."""
    uniform = torch.stack([torch.rand(shape, generator=generator, dtype=torch.float64) for generator in generators])
    return -(-(uniform.clamp_min(1e-300)).log()).log()
