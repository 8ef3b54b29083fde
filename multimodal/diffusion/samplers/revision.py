"""Unmask by confidence, and correct what is already written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multimodal.diffusion.samplers.base import Proposal, Step, ranks
from multimodal.diffusion.samplers.unmasking import ConfidenceSampler

MOST_REVISIONS = 2
"""How often one position may be revised: two positions could else take turns for ever."""


@dataclass(frozen=True, slots=True)
class RevisionSampler(ConfidenceSampler):
    """The confidence sampler with token-to-token edits (LLaDA2.1, 2026): a written token is replaced where
    another one is likeliest by more than a threshold. Needs a denoiser that was trained on wrong visible tokens.

    All masks are written one call before the last, which is left to revision; a row stops when it has no masks and
    a call changed nothing.

    Args:
        edit_threshold: probability above which another token replaces a written one.
    """

    edit_threshold: float = 0.9

    corrects: ClassVar[bool] = True

    def _unfinished(self, tokens: Tensor, open_positions: Tensor, moved: Tensor) -> Tensor:
        return moved

    def _least(self, step: Step, masked: Tensor) -> Tensor:
        return -(-masked.sum(-1, keepdim=True) // max(1, self.num_steps - 1 - step.index))

    def _write(self, step: Step, proposal: Proposal) -> tuple[Tensor, Tensor]:
        tokens, confidence = ConfidenceSampler._write(self, step, proposal)
        probability, likeliest = proposal.probs.max(-1)
        written = step.open_positions & (step.tokens != self.mask_token_id)
        edit = written & (likeliest != tokens) & (probability > self.edit_threshold)
        edit &= step.revisions < MOST_REVISIONS
        edit = self._without_repeats(tokens, likeliest, edit, ranks(probability, edit))
        return torch.where(edit, likeliest, tokens), torch.where(edit, probability, confidence)
