"""Samplers that follow the reverse process: positions are unmasked by chance, not by confidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from multimodal.diffusion.samplers.base import Proposal, Sampler, Step, uniform
from multimodal.diffusion.schedule import LinearSchedule, Schedule


@dataclass(frozen=True, slots=True)
class AncestralSampler(Sampler):
    """Each mask is unmasked with probability (alpha_s - alpha_t) / (1 - alpha_t) (MDLM, Sahoo et al. 2024, eq. 7).

    At temperature 1 this is the reverse process itself. A row that nothing changed in counts a call all the same.

    Args:
        schedule: alpha(t).
    """

    schedule: Schedule = field(default_factory=LinearSchedule)

    draws: ClassVar[bool] = True

    def _write(self, step: Step, proposal: Proposal) -> tuple[Tensor, Tensor]:
        assert step.generators is not None
        alpha_t, alpha_s = self._alphas(step)
        masked = step.tokens == self.mask_token_id
        chance = uniform(step.tokens.shape[1:], step.generators).to(masked.device)
        reveal = masked & ((chance < (alpha_s - alpha_t) / (1 - alpha_t)) | torch.tensor(step.last))
        return (
            torch.where(reveal, proposal.tokens, step.tokens),
            torch.where(reveal, proposal.probability, step.confidence),
        )

    def _alphas(self, step: Step) -> tuple[float, float]:
        times = torch.tensor([1 - step.index / self.num_steps, 1 - (step.index + 1) / self.num_steps])
        alpha_t, alpha_s = self.schedule(times.double()).alpha.tolist()
        return alpha_t, alpha_s


@dataclass(frozen=True, slots=True)
class RemaskingSampler(AncestralSampler):
    """The reverse process that may take tokens back (ReMDM, Wang et al. 2025): a written token is masked again with
    probability sigma, and masks are unmasked that much oftener, so that as many stand at each time as without.
    Sigma is capped (ReMDM-cap) and shared out by how unsure each token was when it was written (as in ReMDM-conf).

    Args:
        remasking: eta, the most that sigma may be on average.
    """

    remasking: float = 0.1

    def _write(self, step: Step, proposal: Proposal) -> tuple[Tensor, Tensor]:
        assert step.generators is not None
        alpha_t, alpha_s = self._alphas(step)
        most = 1.0 if alpha_t == 0 else min(1.0, (1 - alpha_s) / alpha_t)
        masked = step.tokens == self.mask_token_id
        written = step.open_positions & ~masked
        sigma = (min(self.remasking, most) * _doubt(step.confidence, written)).clamp(max=most)
        chance = uniform(step.tokens.shape[1:], step.generators).to(masked.device)
        reveal_chance = (alpha_s - (1 - sigma) * alpha_t) / (1 - alpha_t)
        reveal = masked & ((chance < reveal_chance) | torch.tensor(step.last))
        take_back = written & (chance < sigma) & ~torch.tensor(step.last)
        tokens = torch.where(reveal, proposal.tokens, step.tokens)
        confidence = torch.where(reveal, proposal.probability, step.confidence)
        return torch.where(take_back, self.mask_token_id, tokens), torch.where(take_back, 1.0, confidence)


def _doubt(confidence: Tensor, written: Tensor) -> Tensor:
    """Weights [rows, length] of written positions, 1 on average: softmax of minus the confidence; 1 elsewhere."""
    scores = torch.where(written, -confidence, -torch.inf)
    some = written.any(-1, keepdim=True)
    weights = torch.where(some, scores, 0.0).softmax(-1) * written.sum(-1, keepdim=True)
    return torch.where(written, weights, 1.0)
