"""Particles in a closed container: where they end up is Boltzmann's distribution."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from multimodal.diffusion.continuous.container import BrownianMetropolis, Container
from multimodal.selfcheck.toys import GasColumn, randomness

PARTICLES = 4000


def settled(container: Container, step_size: float, steps: int = 300) -> torch.Tensor:
    """Particles that all began in one corner."""
    x, rate = BrownianMetropolis(container, step_size).run(torch.full((PARTICLES, 2), 0.01), steps, randomness(0))
    assert 0.1 < rate < 1
    return x


@pytest.mark.parametrize("step_size", [0.2, 0.6])
def test_a_gas_settles_by_the_barometric_formula(step_size: float) -> None:
    """Heights fall off exponentially between the walls, sideways all places are alike, at any step size."""
    gas = GasColumn(weight=3.0)
    x = settled(gas.container, step_size).numpy()
    assert stats.kstest(x[:, 1], gas.height_cdf).pvalue > 0.01
    assert stats.kstest(x[:, 0], "uniform").pvalue > 0.01
    assert abs(stats.spearmanr(x[:, 0], x[:, 1]).statistic) < 0.05


def test_without_the_rule_the_potential_is_not_felt() -> None:
    """The test above can fail: reflected Brownian steps alone fill the box evenly."""
    gas = GasColumn(weight=3.0)
    free = Container(lambda x: torch.zeros(len(x)))
    x, rate = BrownianMetropolis(free, 0.2).run(torch.full((PARTICLES, 2), 0.01), 300, randomness(0))
    assert rate == 1.0
    assert stats.kstest(x[:, 1].numpy(), gas.height_cdf).pvalue < 1e-6


def test_two_wells_are_filled_by_their_depths() -> None:
    """Chi-square over a grid against the density integrated numerically, at a temperature that is not 1."""
    container = Container(lambda x: 8 * (x[:, 0] - 0.5) ** 2 * (3 - 2 * x[:, 0]) + x[:, 1] ** 2, temperature=0.7)
    x = settled(container, 0.4).numpy()

    def density(a: float, b: float) -> float:
        return float(container.log_density(torch.tensor([[b, a]], dtype=torch.float64)).exp())

    cells = 4
    edges = np.linspace(0, 1, cells + 1)
    counts, _, _ = np.histogram2d(x[:, 0], x[:, 1], bins=[edges, edges])
    mass = np.array(
        [
            [
                integrate.dblquad(density, edges[i], edges[i + 1], edges[j], edges[j + 1], epsabs=1e-4)[0]
                for j in range(cells)
            ]
            for i in range(cells)
        ]
    )
    assert stats.chisquare(counts.ravel(), mass.ravel() / mass.sum() * PARTICLES).pvalue > 0.01


def test_walls_throw_back() -> None:
    """Once, twice, from both sides; what is inside stays."""
    box = Container(lambda x: torch.zeros(len(x)), size=2.0)
    x = torch.tensor([[0.5, 2.5, -0.5, 4.5, -2.5, 2.0, 0.0]]).T
    torch.testing.assert_close(box.reflect(x), torch.tensor([[0.5, 1.5, 0.5, 0.5, 1.5, 2.0, 0.0]]).T)
    assert box.log_density(torch.tensor([[1.0], [2.1], [-0.1]])).tolist() == [0.0, -np.inf, -np.inf]
