"""Steps that stay at one time and bring x nearer to the density of that time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal.diffusion.continuous.metropolis import Moved, accept, log_density_difference
from multimodal.diffusion.continuous.randomness import Randomness
from multimodal.diffusion.continuous.sde import SDE

Score = Callable[[Tensor, Tensor], Tensor]
"""(x [rows, ...], t scalar) -> gradient of log p_t at x, of the shape of x."""

LogDensity = Callable[[Tensor, Tensor], Tensor]
"""(x [rows, ...], t scalar) -> log p_t up to a constant, [rows]."""


@dataclass(frozen=True, slots=True)
class Corrector(ABC):
    """Langevin dynamics at a fixed time.

    Song et al. 2021 (algorithms 4 and 5) choose the step size e from a signal-to-noise ratio r, as
    2 (r |noise| / |score|)^2 with norms averaged over the batch. Here the norms are replaced by what they are for the
    forward process on average, sqrt(d) and sqrt(d) / std(t), so e = 2 (r std(t))^2: a row does not depend on its batch,
    and the step does not depend on where x is, without which no Metropolis rule would be right.

    Args:
        snr: r.
    """

    snr: float = 0.16

    @abstractmethod
    def step(self, sde: SDE, score: Score, x: Tensor, t: Tensor, randomness: Randomness) -> Moved:
        """x after one step at time t."""

    def step_size(self, sde: SDE, t: Tensor) -> Tensor:
        """e in x + e score + sqrt(2 e) noise."""
        return 2 * (self.snr * sde.marginal(t).std) ** 2


@dataclass(frozen=True, slots=True)
class Langevin(Corrector):
    """Unadjusted Langevin dynamics: quick, and biased by its step size."""

    def step(self, sde: SDE, score: Score, x: Tensor, t: Tensor, randomness: Randomness) -> Moved:
        """As in `Corrector.step`; every row moves, one call of the score."""
        size = self.step_size(sde, t)
        proposal = x + size * score(x, t) + (2 * size).sqrt() * randomness.normal(x)
        return Moved(proposal, torch.ones(len(x), dtype=torch.bool, device=x.device))


@dataclass(frozen=True, slots=True)
class MetropolisLangevin(Corrector):
    """Langevin dynamics whose steps pass a Metropolis rule, so that the density of time t is left exactly as it is
    (MALA, Roberts and Tweedie 1996).

    Args:
        log_density: where it is known; None: its difference is integrated from the score, see
            `log_density_difference`. Two calls of the score without the integral, three with it.
    """

    log_density: LogDensity | None = None

    def step(self, sde: SDE, score: Score, x: Tensor, t: Tensor, randomness: Randomness) -> Moved:
        """As in `Corrector.step`."""
        size = self.step_size(sde, t)
        score_x = score(x, t)
        proposal = x + size * score_x + (2 * size).sqrt() * randomness.normal(x)
        score_y = score(proposal, t)
        if self.log_density is None:
            gain = log_density_difference(lambda between: score(between, t), x, proposal, score_x, score_y)
        else:
            gain = self.log_density(proposal, t) - self.log_density(x, t)
        forward, backward = proposal - x - size * score_x, x - proposal - size * score_y
        log_moves = (forward.square() - backward.square()).flatten(1).sum(-1) / (4 * size)
        return accept(x, proposal, gain + log_moves, randomness)


CORRECTORS: dict[str, type[Corrector]] = {"langevin": Langevin, "mala": MetropolisLangevin}
