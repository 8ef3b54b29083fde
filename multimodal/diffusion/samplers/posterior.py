"""Sampling by the process itself: its prior to start from, its posterior at every step, for any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from multimodal.diffusion.processes import Process
from multimodal.diffusion.samplers.base import Proposal, Sampler, Step, uniform


@dataclass(frozen=True, slots=True)
class ProcessSampler(Sampler):
    """Goes from the process's prior to t = 0 in equal steps, and may change every open position in each of them. A
    token's confidence is its probability given the other positions, as the last step sees them.

    Args:
        process: that the denoiser was trained by.
    """

    process: Process = field(kw_only=True)

    draws: ClassVar[bool] = True
    corrects: ClassVar[bool] = True

    def _start(self, canvas: Tensor, generators: Sequence[torch.Generator] | None) -> Tensor:
        assert generators is not None
        return torch.where(canvas == self.mask_token_id, self._noise(canvas, generators), canvas)

    def _noise(self, canvas: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Noise of the prior, [rows, length]."""
        length = canvas.shape[1]
        noise = torch.cat([self.process.prior_sample((1, length), generator) for generator in generators])
        return noise.to(canvas.device)

    def _unfinished(self, tokens: Tensor, open_positions: Tensor, moved: Tensor) -> Tensor:
        return open_positions.any(-1)

    def _propose(self, logits: Tensor, generators: Sequence[torch.Generator] | None) -> Proposal:
        return Sampler._propose(self, logits, None)  # what is drawn is drawn from posteriors

    def _times(self, step: Step) -> tuple[float, float]:
        """t of the canvas that the denoiser saw, and of what is written now."""
        return 1 - step.index / self.num_steps, 1 - (step.index + 1) / self.num_steps

    def _posterior(self, tokens: Tensor, x_0_probs: Tensor, t: float, s: float = 0.0) -> Tensor:
        times = (torch.full((len(tokens),), time, device=tokens.device) for time in (t, s))
        return self.process.posterior(tokens, x_0_probs, *times)

    def _tempered(self, probs: Tensor) -> Tensor:
        """Probabilities at the sampler's temperature; at 0 all on the likeliest token."""
        if self.temperature == 0:
            return torch.nn.functional.one_hot(probs.argmax(-1), probs.shape[-1]).to(probs)
        return (probs.log() / self.temperature).softmax(-1)


@dataclass(frozen=True, slots=True)
class PosteriorSampler(ProcessSampler):
    """Ancestral sampling: x_s ~ p(x_s | x_t) at all open positions (D3PM, Austin et al. 2021; GIDD, von Rütte et al.
    2025); the last step takes the likeliest clean token instead of drawing it.

    For the absorbing process this is the ancestral sampler, since the posterior keeps what is visible. Temperature
    acts on the prediction of x_0; at 0 only whether a position changes is left to chance, and where the noise is
    uniform more steps then do not help: `RenoisingSampler` is for that.
    """

    def _write(self, step: Step, proposal: Proposal) -> tuple[Tensor, Tensor]:
        assert step.generators is not None
        t, s = self._times(step)
        if step.last:
            tokens = self._posterior(step.tokens, proposal.probs, t).argmax(-1)
        else:
            probs = self._posterior(step.tokens, self._tempered(proposal.probs), t, s)
            tokens = draw(probs, uniform(step.tokens.shape[1:], step.generators))
        tokens = torch.where(step.open_positions, tokens, step.tokens)
        probability = proposal.probs.gather(-1, tokens[..., None]).squeeze(-1)
        return tokens, torch.where(step.open_positions, probability, step.confidence)


def draw(probs: Tensor, chance: Tensor) -> Tensor:
    """Tokens [rows, length] of distributions [rows, length, vocab], by inverting their sums at `chance` in [0, 1)."""
    sums = probs.double().cumsum(-1)
    return torch.searchsorted(sums / sums[..., -1:], chance[..., None].to(sums.device), right=True).squeeze(-1)
