"""Forward processes in continuous time: dx = f(x, t) dt + g(t) dw on t in [0, 1] (Song et al. 2021).

Both processes are Gaussian given their start: x_t = scale(t) x_0 + std(t) z. That is all that training needs, and
with the score of x_t all that reversing them needs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Marginal:
    """q(x_t | x_0) = N(scale x_0, std^2), both of the shape of `t`."""

    scale: Tensor
    std: Tensor

    def over(self, x: Tensor) -> Marginal:
        """Both with as many axes as x, so that times [rows] go with x [rows, ...]."""
        return Marginal(along(self.scale, x), along(self.std, x))


def along(t: Tensor, x: Tensor) -> Tensor:
    """t with axes of size 1 appended until it has as many as x."""
    return t.reshape(t.shape + (1,) * (x.ndim - t.ndim))


class SDE(ABC):
    """A forward process. Times are float tensors, one for all rows or one per row."""

    @abstractmethod
    def marginal(self, t: Tensor) -> Marginal:
        """Scale and std of q(x_t | x_0)."""

    @abstractmethod
    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """f(x, t), of the shape of x."""

    @abstractmethod
    def diffusion(self, t: Tensor) -> Tensor:
        """g(t), of the shape of t."""

    @property
    def prior_std(self) -> float:
        """Standard deviation of the Gaussian that x_1 is taken for."""
        return float(self.marginal(torch.ones((), dtype=torch.float64)).std)

    def q_sample(self, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t, given x_0 and standard normal noise of its shape."""
        at = self.marginal(t).over(x_0)
        return at.scale * x_0 + at.std * noise

    def score(self, x_t: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
        """Gradient of log q(x_t | x_0) at x_t. With the mean of x_0 given x_t it is the score of x_t itself
        (Vincent 2011; score interpolation, CDCD, Dieleman et al. 2022, equation 7)."""
        at = self.marginal(t).over(x_t)
        return (at.scale * x_0 - x_t) / at.std**2

    def denoised(self, x_t: Tensor, score: Tensor, t: Tensor) -> Tensor:
        """Mean of x_0 given x_t: the inverse of `score` (Tweedie's formula)."""
        at = self.marginal(t).over(x_t)
        return (x_t + at.std**2 * score) / at.scale


@dataclass(frozen=True, slots=True)
class VariancePreserving(SDE):
    """The continuous DDPM: scale^2 + std^2 = 1 (Ho et al. 2020; Song et al. 2021, equations 11 and 33).

    Args:
        beta_min, beta_max: noise rate at t = 0 and t = 1, linear in between.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def marginal(self, t: Tensor) -> Marginal:
        """As in `SDE.marginal`."""
        log_scale = -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min
        return Marginal(log_scale.exp(), (-(2 * log_scale).expm1()).sqrt())

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """-beta(t) x / 2."""
        return -0.5 * along(self._beta(t), x) * x

    def diffusion(self, t: Tensor) -> Tensor:
        """sqrt(beta(t))."""
        return self._beta(t).sqrt()

    def _beta(self, t: Tensor) -> Tensor:
        return self.beta_min + t * (self.beta_max - self.beta_min)


@dataclass(frozen=True, slots=True)
class VarianceExploding(SDE):
    """The continuous NCSN: x_t = x_0 + noise that grows geometrically (Song and Ermon 2019; Song et al. 2021,
    equations 9 and 31).

    Args:
        sigma_min, sigma_max: sigma(t) at t = 0 and 1; the noise added up to t has variance sigma(t)^2 - sigma_min^2.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def marginal(self, t: Tensor) -> Marginal:
        """As in `SDE.marginal`."""
        return Marginal(torch.ones_like(t), self.sigma_min * (2 * t * self._log_ratio).expm1().sqrt())

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """None: zeros."""
        return torch.zeros_like(x)

    def diffusion(self, t: Tensor) -> Tensor:
        """sqrt(d sigma^2 / dt)."""
        return self.sigma_min * (t * self._log_ratio).exp() * math.sqrt(2 * self._log_ratio)

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)


SDES: dict[str, type[SDE]] = {"vp": VariancePreserving, "ve": VarianceExploding}
