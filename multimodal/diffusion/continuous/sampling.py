"""The predictor-corrector loop (Song et al. 2021, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from multimodal.diffusion.continuous.correctors import Corrector, Score
from multimodal.diffusion.continuous.predictors import Predictor
from multimodal.diffusion.continuous.randomness import Randomness
from multimodal.diffusion.continuous.sde import SDE


@dataclass(frozen=True, slots=True)
class ContinuousOutput:
    """What a sampler reached.

    Args:
        x: [rows, ...], mean of x_0 given the last x_t.
        nfe: calls of the score.
        acceptance: float [rows], share of corrector steps that were accepted; 1 without a corrector.
    """

    x: Tensor
    nfe: int
    acceptance: Tensor


@dataclass(frozen=True, slots=True)
class PredictorCorrector:
    """Goes from the prior to the data: predict the next earlier time, correct there, and denoise at the end.

    Args:
        sde: the forward process.
        predictor: of its reverse.
        num_steps: times at which the predictor or the last denoising calls the score, evenly spaced from 1 to
            `end_time`.
        corrector: None: none.
        corrector_steps: at each time but the first.
        end_time: where the denoising takes over: at 0 the score is that of the data, which may have none.
    """

    sde: SDE
    predictor: Predictor
    num_steps: int
    corrector: Corrector | None = None
    corrector_steps: int = 1
    end_time: float = 1e-3

    def prior_sample(self, like: Tensor, randomness: Randomness) -> Tensor:
        """x_1, of the shape of `like`."""
        return self.sde.prior_std * randomness.normal(like)

    @torch.no_grad()
    def sample(self, score: Score, x: Tensor, randomness: Randomness) -> ContinuousOutput:
        """Take x, [rows, ...] at time 1, to time 0."""
        calls = 0

        def counted(x: Tensor, t: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return score(x, t)

        times = torch.linspace(1.0, self.end_time, self.num_steps, dtype=x.dtype, device=x.device)
        accepted: list[Tensor] = []
        for t, s in pairwise(times):
            x = self.predictor.step(self.sde, x, counted(x, t), t, s, randomness)
            for _ in range(self.corrector_steps if self.corrector else 0):
                assert self.corrector is not None
                moved = self.corrector.step(self.sde, counted, x, s, randomness)
                x = moved.x
                accepted.append(moved.accepted.float())
        x = self.sde.denoised(x, counted(x, times[-1]), times[-1])
        acceptance = torch.stack(accepted).mean(0) if accepted else torch.ones(len(x), device=x.device)
        return ContinuousOutput(x, calls, acceptance)
