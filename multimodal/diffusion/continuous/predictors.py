"""One step of the reversed process, from time t to an earlier time s, given the score at t."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from multimodal.diffusion.continuous.randomness import Randomness
from multimodal.diffusion.continuous.sde import SDE, along


class Predictor(ABC):
    """Takes x_t to x_s."""

    @abstractmethod
    def step(self, sde: SDE, x: Tensor, score: Tensor, t: Tensor, s: Tensor, randomness: Randomness) -> Tensor:
        """x_s.

        Args:
            sde: the forward process.
            x: [rows, ...], at time t.
            score: of the shape of x, at x and t.
            t, s: scalars, s < t.
            randomness: of the rows.
        """


class EulerMaruyama(Predictor):
    """The reverse-time SDE, dx = (f - g^2 score) dt + g dw (Anderson 1982), in Euler-Maruyama steps."""

    def step(self, sde: SDE, x: Tensor, score: Tensor, t: Tensor, s: Tensor, randomness: Randomness) -> Tensor:
        """As in `Predictor.step`."""
        g = along(sde.diffusion(t), x)
        mean = x - (sde.drift(x, t) - g**2 * score) * (t - s)
        return mean + g * (t - s).sqrt() * randomness.normal(x)


class Ancestral(Predictor):
    """Draws from q(x_s | x_t, x_0), with x_0 replaced by its mean given x_t (DDPM, Ho et al. 2020, equation 7; for the
    variance-exploding process Song et al. 2021, equation 47)."""

    def step(self, sde: SDE, x: Tensor, score: Tensor, t: Tensor, s: Tensor, randomness: Randomness) -> Tensor:
        """As in `Predictor.step`."""
        x_0 = sde.denoised(x, score, t)
        at_t, at_s = sde.marginal(t).over(x), sde.marginal(s).over(x)
        ratio = at_t.scale / at_s.scale  # x_t given x_s is N(ratio x_s, added)
        added = at_t.std**2 - ratio**2 * at_s.std**2
        mean = (ratio * at_s.std**2 * x + at_s.scale * added * x_0) / at_t.std**2
        return mean + at_s.std * added.clamp(min=0).sqrt() / at_t.std * randomness.normal(x)


class ProbabilityFlow(Predictor):
    """The ODE with the marginals of the SDE, dx = (f - g^2 score / 2) dt (Song et al. 2021, equation 13).

    Its step keeps the estimates of x_0 and of the noise and only changes their shares: DDIM (Song, Meng and Ermon
    2021), exact for a point mass, where Euler's step is not.
    """

    def step(self, sde: SDE, x: Tensor, score: Tensor, t: Tensor, s: Tensor, randomness: Randomness) -> Tensor:
        """As in `Predictor.step`; nothing is drawn."""
        at_t, at_s = sde.marginal(t).over(x), sde.marginal(s).over(x)
        return at_s.scale * sde.denoised(x, score, t) - at_s.std * at_t.std * score


PREDICTORS: dict[str, type[Predictor]] = {"euler": EulerMaruyama, "ancestral": Ancestral, "flow": ProbabilityFlow}
