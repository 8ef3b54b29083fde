"""Mask-predict: write everything, then take back what was least sure and write it again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal.diffusion.samplers.base import Proposal, Sampler, Step, ranks


@dataclass(frozen=True, slots=True)
class MaskPredictSampler(Sampler):
    """Every step writes all masks and masks the least sure tokens again, fewer each time (Ghazvininejad et al. 2019).

    The one revising sampler that needs no training of its own: a token taken back is seen by none, and what replaces
    it has seen all others.
    """

    def _write(self, step: Step, proposal: Proposal) -> tuple[Tensor, Tensor]:
        masked = step.tokens == self.mask_token_id
        tokens = torch.where(masked, proposal.tokens, step.tokens)
        confidence = torch.where(masked, proposal.probability, step.confidence)
        total = step.open_positions.sum(-1, keepdim=True)
        again = total * (self.num_steps - step.index - 1) // self.num_steps
        take_back = step.open_positions & (ranks(-confidence, step.open_positions) < again)
        return torch.where(take_back, self.mask_token_id, tokens), torch.where(take_back, 1.0, confidence)
