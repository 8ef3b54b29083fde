"""Small worlds whose answers are known: a Gaussian mixture under a forward process, and a column of gas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from multimodal.diffusion.continuous.container import Container
from multimodal.diffusion.continuous.randomness import SharedRandomness
from multimodal.diffusion.continuous.sde import SDE


@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture of one-dimensional Gaussians, x_0, and what a forward process makes of it.

    Args:
        sde: the forward process.
        weights: of the components, sum 1.
        means, stds: of the components.
    """

    sde: SDE
    weights: tuple[float, ...] = (0.7, 0.3)
    means: tuple[float, ...] = (-1.5, 1.0)
    stds: tuple[float, ...] = (0.4, 0.2)

    def log_density(self, x: Tensor, t: Tensor) -> Tensor:
        """log p_t of x [rows, 1], [rows]."""
        weights, means, variances = self._components(x, t)
        logs = weights.log() - 0.5 * (x - means) ** 2 / variances - 0.5 * (2 * math.pi * variances).log()
        return logs.logsumexp(-1)

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """Gradient of `log_density`, [rows, 1]."""
        weights, means, variances = self._components(x, t)
        logs = weights.log() - 0.5 * (x - means) ** 2 / variances - 0.5 * variances.log()
        return (logs.softmax(-1) * (means - x) / variances).sum(-1, keepdim=True)

    def cdf(self, x: np.ndarray, t: float = 0.0) -> np.ndarray:
        """Distribution function of x_t."""
        at = self.sde.marginal(torch.tensor(t, dtype=torch.float64))
        scale, std = float(at.scale), float(at.std)
        parts = [
            weight * stats.norm.cdf(x, scale * mean, math.hypot(scale * width, std))
            for weight, mean, width in zip(self.weights, self.means, self.stds, strict=True)
        ]
        return np.asarray(np.sum(parts, axis=0))

    def density(self, x: np.ndarray) -> np.ndarray:
        """Density of x_0."""
        rows = torch.from_numpy(np.asarray(x, dtype=np.float64))[:, None]
        return self.log_density(rows, torch.zeros((), dtype=torch.float64)).exp().numpy()

    @property
    def mean(self) -> float:
        """Of x_0."""
        return sum(weight * mean for weight, mean in zip(self.weights, self.means, strict=True))

    @property
    def variance(self) -> float:
        """Of x_0."""
        squares = (w * (m**2 + s**2) for w, m, s in zip(self.weights, self.means, self.stds, strict=True))
        return sum(squares) - self.mean**2

    def _components(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        at = self.sde.marginal(t)
        weights, means, stds = (x.new_tensor(values) for values in (self.weights, self.means, self.stds))
        return weights, at.scale * means, (at.scale * stds) ** 2 + at.std**2


@dataclass(frozen=True, slots=True)
class GasColumn:
    """A gas in a closed box of height 1 in a constant field, its second coordinate the height.

    Args:
        weight: m g / kT, in units of 1 / height.
    """

    weight: float = 3.0

    @property
    def container(self) -> Container:
        """The box with its potential."""
        return Container(lambda x: self.weight * x[:, 1])

    def height_cdf(self, height: np.ndarray) -> np.ndarray:
        """Share of particles below a height: the barometric formula between two walls."""
        return np.asarray(stats.truncexpon.cdf(height, b=self.weight, scale=1 / self.weight))

    def height_density(self, height: np.ndarray) -> np.ndarray:
        """Density of the heights."""
        return np.asarray(stats.truncexpon.pdf(height, b=self.weight, scale=1 / self.weight))


def randomness(seed: int) -> SharedRandomness:
    """Noise for a simulation."""
    return SharedRandomness(torch.Generator().manual_seed(seed))
