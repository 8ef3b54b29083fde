"""Particles in a closed container: Brownian steps, reflecting walls, a potential, and the Metropolis rule over them.

The stationary density is Boltzmann's, exp(-U(x) / temperature) inside of the container and 0 outside: in a constant
field the barometric formula. A small physical system whose answer is known, on which the Metropolis rule that also
adjusts the Langevin corrector can be seen to be right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal.diffusion.continuous.metropolis import Moved, accept
from multimodal.diffusion.continuous.randomness import Randomness

Potential = Callable[[Tensor], Tensor]
"""x [particles, dimensions] -> energy [particles], in units of the temperature."""


@dataclass(frozen=True, slots=True)
class Container:
    """A box [0, size]^d of particles that do not meet each other.

    Args:
        potential: U.
        size: edge of the box.
        temperature: in units of the energy.
    """

    potential: Potential
    size: float = 1.0
    temperature: float = 1.0

    def reflect(self, x: Tensor) -> Tensor:
        """Where a straight path to x ends inside of the box when its walls throw it back, however often."""
        return self.size - (x.remainder(2 * self.size) - self.size).abs()

    def log_density(self, x: Tensor) -> Tensor:
        """Log of the stationary density up to a constant, [particles]; -inf outside."""
        inside = ((x >= 0) & (x <= self.size)).all(-1)
        return torch.where(inside, -self.potential(x) / self.temperature, -torch.inf)


@dataclass(frozen=True, slots=True)
class BrownianMetropolis:
    """Brownian steps in a container, kept or refused by the energy that they cost (Metropolis et al. 1953).

    A reflected Gaussian step is as likely there as back, so the energies alone decide.

    Args:
        container: the box.
        step_size: standard deviation of a step, in units of length.
    """

    container: Container
    step_size: float

    def step(self, x: Tensor, randomness: Randomness) -> Moved:
        """Particles [particles, dimensions] after one step."""
        proposal = self.container.reflect(x + self.step_size * randomness.normal(x))
        log_ratio = self.container.log_density(proposal) - self.container.log_density(x)
        return accept(x, proposal, log_ratio, randomness)

    def run(self, x: Tensor, num_steps: int, randomness: Randomness) -> tuple[Tensor, float]:
        """Particles after many steps, and the share of steps that was accepted."""
        accepted = 0.0
        for _ in range(num_steps):
            moved = self.step(x, randomness)
            x, accepted = moved.x, accepted + moved.accepted.float().mean().item()
        return x, accepted / num_steps
