"""Ancestral sampling by the process itself: every open position is drawn anew in each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from multimodal.diffusion.processes import Process
from multimodal.diffusion.samplers.base import Proposal, Sampler, Step, uniform


@dataclass(frozen=True, slots=True)
class PosteriorSampler(Sampler):
    """x_s ~ p(x_s | x_t) of any process at all open positions, from its prior to t = 0 in equal steps (D3PM, Austin et
    al. 2021; GIDD, von Rütte et al. 2025); the last step takes the likeliest clean token instead of drawing it.

    For the absorbing process this is the ancestral sampler, since the posterior keeps what is visible. Temperature
    acts on the prediction of x_0; at 0 only whether a position changes is left to chance.

    Args:
        process: that the denoiser was trained by.
    """

    process: Process = field(kw_only=True)

    draws: ClassVar[bool] = True

    def _start(self, canvas: Tensor, generators: Sequence[torch.Generator] | None) -> Tensor:
        assert generators is not None
        length = canvas.shape[1]
        noise = torch.cat([self.process.prior_sample((1, length), generator) for generator in generators])
        return torch.where(canvas == self.mask_token_id, noise.to(canvas.device), canvas)

    def _unfinished(self, tokens: Tensor, open_positions: Tensor, moved: Tensor) -> Tensor:
        return open_positions.any(-1)

    def _propose(self, logits: Tensor, generators: Sequence[torch.Generator] | None) -> Proposal:
        return Sampler._propose(self, logits, None)  # drawn from the posterior, not from the prediction of x_0

    def _write(self, step: Step, proposal: Proposal) -> tuple[Tensor, Tensor]:
        assert step.generators is not None
        t, s = (1 - (step.index + offset) / self.num_steps for offset in (0, 1))
        clean = self._posterior(step.tokens, proposal.probs, t, 0.0)
        if step.last:
            tokens = clean.argmax(-1)
        else:
            probs = self._posterior(step.tokens, self._tempered(proposal), t, s)
            tokens = draw(probs, uniform(step.tokens.shape[1:], step.generators).to(probs.device))
        tokens = torch.where(step.open_positions, tokens, step.tokens)
        probability = clean.gather(-1, tokens[..., None]).squeeze(-1)
        return tokens, torch.where(step.open_positions, probability, step.confidence)

    def _posterior(self, tokens: Tensor, x_0_probs: Tensor, t: float, s: float) -> Tensor:
        times = (torch.full((len(tokens),), time, device=tokens.device) for time in (t, s))
        return self.process.posterior(tokens, x_0_probs, *times)

    def _tempered(self, proposal: Proposal) -> Tensor:
        if self.temperature == 0:
            return torch.nn.functional.one_hot(proposal.tokens, proposal.probs.shape[-1]).to(proposal.probs)
        tempered: Tensor = (proposal.probs.log() / self.temperature).softmax(-1)
        return tempered


def draw(probs: Tensor, chance: Tensor) -> Tensor:
    """Tokens [rows, length] of distributions [rows, length, vocab], by inverting their sums at `chance` in [0, 1)."""
    sums = probs.double().cumsum(-1)
    return torch.searchsorted(sums / sums[..., -1:], chance[..., None], right=True).squeeze(-1)
