"""Renoising: keep the surest tokens, and give all others fresh noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal.diffusion.samplers.base import Proposal, Step, ranks, uniform
from multimodal.diffusion.samplers.posterior import ProcessSampler, draw


@dataclass(frozen=True, slots=True)
class RenoisingSampler(ProcessSampler):
    """Mask-predict (Ghazvininejad et al. 2019) with the noise of any process: each step writes every open position by
    p(x_0 | x_t), and of these tokens as many as the process keeps at s stay: those that the other positions say most
    surely.

    Where tokens are chosen greedily this is far better than ancestral sampling: that one leaves to chance which
    positions are settled first, and uniform noise does not show which are not.
    """

    def _write(self, step: Step, proposal: Proposal) -> tuple[Tensor, Tensor]:
        assert step.generators is not None
        t, s = self._times(step)
        clean = self._posterior(step.tokens, proposal.probs, t)
        tokens = draw(self._tempered(clean), uniform(step.tokens.shape[1:], step.generators))
        tokens = torch.where(step.open_positions, tokens, step.tokens)  # what was given may have no posterior at t = 1
        probability = proposal.probs.gather(-1, tokens[..., None]).squeeze(-1)
        total = step.open_positions.sum(-1, keepdim=True)
        keep = self.process.marginals(torch.tensor(s)).value.keep.to(total.device)
        again = step.open_positions & (ranks(-probability, step.open_positions) < (total * (1 - keep)).floor())
        tokens = torch.where(again, self._noise(step.tokens, step.generators), tokens)
        return tokens, torch.where(step.open_positions, probability, step.confidence)
