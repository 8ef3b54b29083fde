"""Reversing a process whose score is known, and Langevin steps with and without the Metropolis rule."""

import numpy as np
import pytest
import torch
from scipy import stats

from multimodal.diffusion.continuous.correctors import Corrector, Langevin, MetropolisLangevin
from multimodal.diffusion.continuous.metropolis import accept, log_density_difference
from multimodal.diffusion.continuous.predictors import PREDICTORS, Predictor, ProbabilityFlow
from multimodal.diffusion.continuous.sampling import PredictorCorrector
from multimodal.diffusion.continuous.sde import SDE, VarianceExploding, VariancePreserving
from multimodal.selfcheck.toys import Mixture, randomness

ROWS = 4000
PROCESSES = [VariancePreserving(), VarianceExploding()]


def draw(sde: SDE, predictor: Predictor, num_steps: int, corrector: Corrector | None = None) -> torch.Tensor:
    """Samples of the mixture, [ROWS]."""
    loop, noise = PredictorCorrector(sde, predictor, num_steps, corrector, corrector_steps=4), randomness(1)
    start = loop.prior_sample(torch.zeros(ROWS, 1, dtype=torch.float64), noise)
    return loop.sample(Mixture(sde).score, start, noise).x.squeeze(-1)


@pytest.mark.parametrize("sde", PROCESSES, ids=["vp", "ve"])
@pytest.mark.parametrize("name", PREDICTORS)
def test_reversing_recovers_the_mixture(sde: SDE, name: str) -> None:
    """With the exact score and many steps: both moments, and the whole distribution by Kolmogorov and Smirnov."""
    mixture = Mixture(sde)
    x = draw(sde, PREDICTORS[name](), 300).numpy()
    assert x.mean() == pytest.approx(mixture.mean, abs=0.06)
    assert x.var() == pytest.approx(mixture.variance, rel=0.06)
    assert stats.kstest(x, mixture.cdf).statistic < 0.03  # 1.36 / sqrt(4000) = 0.0215 is the 5 % point of exact draws


@pytest.mark.parametrize("sde", PROCESSES, ids=["vp", "ve"])
@pytest.mark.parametrize("corrector", [Langevin(0.5), MetropolisLangevin(0.7)], ids=["langevin", "mala"])
def test_a_corrector_mends_coarse_steps(sde: SDE, corrector: Corrector) -> None:
    """Where a few steps of the predictor alone miss the mixture, corrected steps come nearer."""
    cdf = Mixture(sde).cdf
    alone = stats.kstest(draw(sde, PREDICTORS["flow"](), 16).numpy(), cdf).statistic
    corrected = stats.kstest(draw(sde, PREDICTORS["flow"](), 16, corrector).numpy(), cdf).statistic
    assert corrected < 0.8 * alone


@pytest.mark.parametrize("sde", PROCESSES, ids=["vp", "ve"])
def test_the_flow_is_exact_for_a_point(sde: SDE) -> None:
    """All data in one place: a single step of the probability flow lands there."""
    point, t, s = torch.full((5, 2), 0.7), torch.tensor(0.9), torch.tensor(0.2)
    x = torch.randn(5, 2)
    landed = ProbabilityFlow().step(sde, x, sde.score(x, point, t), t, s, randomness(0))
    at_t, at_s = sde.marginal(t), sde.marginal(s)
    torch.testing.assert_close(landed, at_s.scale * point + at_s.std / at_t.std * (x - at_t.scale * point))


def test_calls_are_counted() -> None:
    """One a predictor step and one to denoise; a Langevin step adds one, an adjusted one three."""
    sde = VariancePreserving()
    for corrector, calls in ((None, 10), (Langevin(), 10 + 2 * 9), (MetropolisLangevin(), 10 + 3 * 2 * 9)):
        loop, seen = PredictorCorrector(sde, ProbabilityFlow(), 10, corrector, corrector_steps=2), []
        mixture = Mixture(sde)

        def score(x: torch.Tensor, t: torch.Tensor, mixture: Mixture = mixture, seen: list[float] = seen):
            seen.append(t.item())
            return mixture.score(x, t)

        output = loop.sample(score, torch.zeros(3, 1), randomness(0))
        assert output.nfe == len(seen) == calls
        assert seen == sorted(seen, reverse=True) and seen[0] == 1.0


def stationary(corrector: Corrector, steps: int = 400) -> np.ndarray:
    """Where the steps of a corrector lead from far away, at a time where the process has added unit noise."""
    sde = VarianceExploding(sigma_min=1e-3, sigma_max=1.0)
    mixture, t, noise = Mixture(sde, (1.0,), (0.0,), (1e-3,)), torch.ones((), dtype=torch.float64), randomness(2)
    x = torch.full((ROWS, 1), 3.0, dtype=torch.float64)
    for _ in range(steps):
        x = corrector.step(sde, mixture.score, x, t, noise).x
    return x.squeeze(-1).numpy()


def test_the_metropolis_rule_removes_the_bias_of_langevin_steps() -> None:
    """On a Gaussian of variance v Langevin steps of size e settle at the variance 2 v^2 / (2 v - e), 4/3 at e = v/2;
    adjusted ones at v, with the score alone as with the log-density."""
    snr = 0.5  # e = 2 snr^2 = 0.5
    biased = stationary(Langevin(snr))
    assert biased.var() == pytest.approx(4 / 3, rel=0.08)
    assert stats.kstest(biased, "norm").pvalue < 1e-6
    sde = VarianceExploding(sigma_min=1e-3, sigma_max=1.0)
    known = Mixture(sde, (1.0,), (0.0,), (1e-3,)).log_density
    for corrector in (MetropolisLangevin(snr), MetropolisLangevin(snr, known)):
        assert stats.kstest(stationary(corrector), "norm").pvalue > 0.01


def test_the_score_integrates_to_the_log_density() -> None:
    """Simpson's rule along short moves of a mixture agrees with the density itself."""
    mixture, t = Mixture(VariancePreserving()), torch.tensor(0.3, dtype=torch.float64)
    x = torch.linspace(-2, 2, 40, dtype=torch.float64)[:, None]
    y = x + 0.3

    def score(x: torch.Tensor) -> torch.Tensor:
        return mixture.score(x, t)

    found = log_density_difference(score, x, y, score(x), score(y))
    torch.testing.assert_close(found, mixture.log_density(y, t) - mixture.log_density(x, t), atol=2e-3, rtol=0)


def test_the_mixtures_score_is_the_gradient_of_its_density() -> None:
    """The reference itself."""
    mixture, t = Mixture(VariancePreserving()), torch.tensor(0.3, dtype=torch.float64)
    x = torch.linspace(-3, 3, 30, dtype=torch.float64)[:, None].requires_grad_()
    (gradient,) = torch.autograd.grad(mixture.log_density(x, t).sum(), x)
    torch.testing.assert_close(mixture.score(x, t), gradient)


def test_rows_are_accepted_with_the_ratio() -> None:
    """Half the time at log(1/2), always at 0 and above, never at -inf or where it is no number."""
    x, y = torch.zeros(8000, 2), torch.ones(8000, 2)
    moved = accept(x, y, torch.full((8000,), 0.5).log(), randomness(3))
    assert moved.accepted.float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(moved.x[:, 0] == 1, moved.accepted)
    ratios = torch.tensor([0.0, 5.0, -torch.inf, torch.nan])
    assert accept(x[:4], y[:4], ratios, randomness(3)).accepted.tolist() == [True, True, False, False]
