"""The absorbing process."""

import pytest
import torch

from multimodal.diffusion.process import AbsorbingProcess
from multimodal.diffusion.schedule import CosineSchedule

MASK = 1


@pytest.fixture
def process() -> AbsorbingProcess:
    return AbsorbingProcess(MASK, CosineSchedule())


def test_share_of_masks_is_one_minus_alpha(process: AbsorbingProcess) -> None:
    """q(x_t | x_0) masks each token with probability 1 - alpha(t)."""
    x_0 = torch.full((4, 20_000), 7)
    t = torch.tensor([0.1, 0.4, 0.7, 1.0])
    x_t = process.q_sample(x_0, t, torch.Generator().manual_seed(0))
    torch.testing.assert_close((x_t == MASK).float().mean(-1), 1 - process.schedule(t).alpha, atol=0.015, rtol=0)
    assert set(x_t.unique().tolist()) == {MASK, 7}


def test_given_positions_stay(process: AbsorbingProcess) -> None:
    """Positions that are not open are never masked, even at t = 1."""
    x_0 = torch.arange(2, 12)[None]
    open_positions = torch.zeros(1, 10, dtype=torch.bool)
    open_positions[0, 3:6] = True
    x_t = process.q_sample(x_0, torch.ones(1), torch.Generator().manual_seed(0), open_positions)
    assert x_t[0].tolist() == [2, 3, 4, MASK, MASK, MASK, 8, 9, 10, 11]


def test_posterior_is_a_distribution_that_keeps_visible_tokens(process: AbsorbingProcess) -> None:
    """Rows sum to one; a visible token stays with probability one; a mask stays a mask as MDLM's equation 6 says."""
    x_t = torch.tensor([[5, MASK]])
    probs = torch.zeros(1, 2, 8)
    probs[..., 3] = 1
    t, s = torch.tensor([0.8]), torch.tensor([0.5])
    posterior = process.posterior(x_t, probs, t, s)
    torch.testing.assert_close(posterior.sum(-1), torch.ones(1, 2))
    assert posterior[0, 0, 5] == 1
    alpha_t, alpha_s = process.schedule(t).alpha, process.schedule(s).alpha
    torch.testing.assert_close(posterior[0, 1, MASK][None], (1 - alpha_s) / (1 - alpha_t))


def test_posterior_chain_gives_back_the_marginal(process: AbsorbingProcess) -> None:
    """Going from x_1 back to s through the posterior of the true text masks as much as q(x_s | x_0)."""
    s = torch.tensor([0.3])
    x_1 = process.prior_sample((1, 1))
    truth = torch.nn.functional.one_hot(torch.tensor([[4]]), 8).float()
    posterior = process.posterior(x_1, truth, torch.ones(1), s)
    torch.testing.assert_close(posterior[0, 0, 4][None], process.schedule(s).alpha)
