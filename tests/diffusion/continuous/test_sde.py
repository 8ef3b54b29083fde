"""Forward processes: what simulation gives is what the formulas say."""

from itertools import pairwise

import pytest
import torch

from multimodal.diffusion.continuous.randomness import RowRandomness
from multimodal.diffusion.continuous.sde import SDE, VarianceExploding, VariancePreserving, along
from multimodal.selfcheck.toys import randomness

PROCESSES = [VariancePreserving(), VarianceExploding(sigma_max=5.0)]


@pytest.mark.parametrize("sde", PROCESSES)
def test_simulation_reaches_the_marginal(sde: SDE) -> None:
    """Small forward steps of drift and diffusion from one point have the mean and std of q(x_t | x_0)."""
    noise, steps = randomness(0), 400
    x = torch.full((20_000, 1), 2.0, dtype=torch.float64)
    times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    for index, (t, s) in enumerate(pairwise(times)):
        middle = (t + s) / 2
        x = x + sde.drift(x, middle) * (s - t) + sde.diffusion(middle) * (s - t).sqrt() * noise.normal(x)
        if index + 1 in (steps // 2, steps):
            at = sde.marginal(s)
            assert x.mean().item() == pytest.approx(2 * at.scale.item(), abs=0.03 * max(1.0, at.std.item()))
            assert x.std().item() == pytest.approx(at.std.item(), rel=0.02)


@pytest.mark.parametrize("sde", PROCESSES)
def test_both_ends(sde: SDE) -> None:
    """Clean at 0; at 1 the start has faded beside the noise, and the prior is what is left."""
    start, end = sde.marginal(torch.tensor(0.0)), sde.marginal(torch.tensor(1.0))
    assert (start.scale.item(), start.std.item()) == (1.0, 0.0)
    assert end.scale / end.std < 0.25
    assert sde.prior_std == pytest.approx(end.std.item(), rel=1e-5)


def test_variance_is_preserved() -> None:
    """scale^2 + std^2 = 1 at every time."""
    at = VariancePreserving().marginal(torch.linspace(0, 1, 50, dtype=torch.float64))
    torch.testing.assert_close(at.scale**2 + at.std**2, torch.ones(50, dtype=torch.float64))


@pytest.mark.parametrize("sde", PROCESSES)
def test_score_and_denoised_are_inverse(sde: SDE) -> None:
    """And the score is the gradient of the kernel's log-density."""
    x_0, t = torch.randn(4, 3, dtype=torch.float64), torch.rand(4, dtype=torch.float64) + 0.1
    x_t = sde.q_sample(x_0, t, torch.randn(4, 3, dtype=torch.float64)).requires_grad_()
    at = sde.marginal(t).over(x_t)
    log_kernel = (-((x_t - at.scale * x_0) ** 2) / (2 * at.std**2)).sum()
    (gradient,) = torch.autograd.grad(log_kernel, x_t)
    torch.testing.assert_close(sde.score(x_t, x_0, t), gradient)
    torch.testing.assert_close(sde.denoised(x_t, gradient, t), x_0)


def test_times_of_rows_line_up() -> None:
    """A time per row gets axes of size 1; one time for all stays one number."""
    x = torch.zeros(3, 4, 5)
    assert along(torch.zeros(3), x).shape == (3, 1, 1)
    assert along(torch.zeros(3, 4), x).shape == (3, 4, 1)
    assert (along(torch.zeros(()), x) + x).shape == x.shape


def test_a_row_draws_from_its_own_generator() -> None:
    """Its noise is the same in any batch and any order."""

    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(row) for row in range(3)]

    together = RowRandomness(generators())
    x, u = together.normal(torch.zeros(3, 20)), together.uniform(torch.zeros(3, 20))
    alone = RowRandomness(generators()).rows(torch.tensor([2, 0]))
    assert torch.equal(alone.normal(torch.zeros(2, 20)), x[[2, 0]])
    assert torch.equal(alone.uniform(torch.zeros(2, 20)), u[[2, 0]])
