"""Particles, reversed processes and Langevin steps, against the distributions that they must have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats

from multimodal.diffusion.continuous.container import BrownianMetropolis
from multimodal.diffusion.continuous.correctors import Langevin, MetropolisLangevin
from multimodal.diffusion.continuous.predictors import Ancestral
from multimodal.diffusion.continuous.sampling import PredictorCorrector
from multimodal.diffusion.continuous.sde import SDES, VarianceExploding
from multimodal.figures import AMBER, BLUE, INK, add_legend, new_figure
from multimodal.selfcheck.finding import Finding
from multimodal.selfcheck.toys import GasColumn, Mixture, randomness

LEAST_P = 1e-3
"""Draws are fixed by their seed, so a right sampler passes always or never: a thousandth leaves it room."""

LANGEVIN_SNR = 0.5
"""Steps of size 2 snr^2 = 1/2, on a Gaussian of variance 1: unadjusted ones settle at a variance of 4/3."""


def gas_in_a_box(particles: int = 20_000, steps: int = 300) -> Finding:
    """Particles that begin in one corner end up where the barometric formula says."""
    gas = GasColumn()
    start = torch.full((particles, 2), 0.01)
    x, rate = BrownianMetropolis(gas.container, step_size=0.3).run(start, steps, randomness(0))
    places = x.numpy()
    up = float(stats.kstest(places[:, 1], gas.height_cdf).pvalue)
    sideways = float(stats.kstest(places[:, 0], "uniform").pvalue)
    figure = _histogram(places[:, 1], gas.height_density, "height", "barometric formula")
    axes = figure.axes[0].inset_axes((0.4, 0.3, 0.25, 0.65))
    axes.plot(places[::40, 0], places[::40, 1], ".", color=BLUE, markersize=1.5, alpha=0.6)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], facecolor="none")
    for spine in axes.spines.values():
        spine.set_color(INK)
    return Finding(
        min(up, sideways) > LEAST_P,
        f"Kolmogorov-Smirnov p {up:.2f} upwards, {sideways:.2f} sideways; {rate:.0%} of {steps} steps accepted",
        f"p above {LEAST_P}",
        figure,
    )


def reversed_mixture(name: str, rows: int = 4000, steps: int = 120) -> Finding:
    """Ancestral steps with a Metropolis-adjusted Langevin step after each."""
    sde, noise = SDES[name](), randomness(1)
    mixture = Mixture(sde)
    loop = PredictorCorrector(sde, Ancestral(), steps, MetropolisLangevin(0.5))
    start = loop.prior_sample(torch.zeros(rows, 1, dtype=torch.float64), noise)
    output = loop.sample(mixture.score, start, noise)
    x = output.x.squeeze(-1).numpy()
    distance = float(stats.kstest(x, mixture.cdf).statistic)
    most = 0.03
    return Finding(
        distance < most,
        f"Kolmogorov-Smirnov distance {distance:.3f}, mean {x.mean():.3f} and variance {x.var():.3f} (exactly "
        f"{mixture.mean:.3f} and {mixture.variance:.3f}); {output.nfe} calls, {output.acceptance.mean():.0%} accepted",
        f"distance below {most}",
        _histogram(x, mixture.density, "x", "mixture"),
    )


def adjusted_langevin(rows: int = 4000, steps: int = 300) -> Finding:
    """On a Gaussian, the Metropolis rule takes away the bias that steps of this size have."""
    sde, t = VarianceExploding(sigma_min=1e-3, sigma_max=1.0), torch.ones((), dtype=torch.float64)
    point = Mixture(sde, (1.0,), (0.0,), (1e-3,))  # which noise of variance 1 makes a standard normal
    settled = {}
    for name, corrector in (("adjusted", MetropolisLangevin(LANGEVIN_SNR)), ("unadjusted", Langevin(LANGEVIN_SNR))):
        x, noise = torch.full((rows, 1), 3.0, dtype=torch.float64), randomness(2)
        for _ in range(steps):
            x = corrector.step(sde, point.score, x, t, noise).x
        settled[name] = x.squeeze(-1).numpy()
    p = float(stats.kstest(settled["adjusted"], "norm").pvalue)
    variances = {name: float(x.var()) for name, x in settled.items()}
    figure = _histogram(settled["adjusted"], stats.norm.pdf, "x", "standard normal", "with the Metropolis rule")
    axes = figure.axes[0]
    axes.hist(settled["unadjusted"], bins=50, density=True, histtype="step", color=AMBER, label="without")
    add_legend(axes)
    return Finding(
        p > LEAST_P and abs(variances["unadjusted"] - 4 / 3) < 0.12,
        f"adjusted: p {p:.2f}, variance {variances['adjusted']:.3f}; unadjusted: {variances['unadjusted']:.3f}",
        f"p above {LEAST_P}; unadjusted 4/3 within 0.12",
        figure,
    )


def _histogram(
    x: np.ndarray, density: Callable[[np.ndarray], np.ndarray], label: str, exact: str, drawn: str = "drawn"
) -> Figure:
    figure, axes = new_figure(2.6, label)
    grid = np.linspace(x.min(), x.max(), 300)
    axes.hist(x, bins=50, density=True, color=BLUE, alpha=0.45, label=drawn)
    axes.plot(grid, density(grid), color=INK, linewidth=1.4, label=exact)
    add_legend(axes)
    return figure
