"""Losses of masked diffusion."""

import math

import torch

from multimodal.diffusion.loss import likelihood_bound, masked_cross_entropy
from multimodal.diffusion.schedule import LinearSchedule


def test_mean_of_an_ignorant_guess() -> None:
    """Equal logits cost log(vocab) per position."""
    loss = masked_cross_entropy(torch.zeros(2, 8), torch.tensor([2, 4]))
    torch.testing.assert_close(loss.mean, torch.tensor(math.log(8)))
    assert loss.weight == 2


def test_weights_are_relative() -> None:
    """A position of weight 0.1 counts a tenth in the sum and in the divisor."""
    logits = torch.zeros(2, 4)
    logits[1, 0] = 100.0
    loss = masked_cross_entropy(logits, torch.tensor([0, 0]), torch.tensor([0.1, 1.0]))
    torch.testing.assert_close(loss.mean, torch.tensor(0.1 * math.log(4) / 1.1))


def test_nothing_masked_costs_nothing() -> None:
    """Zero, not a division by zero."""
    assert masked_cross_entropy(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)).mean == 0


def test_bound_of_a_uniform_guess_is_its_entropy() -> None:
    """For a denoiser that knows nothing the bound's expectation is length x log(vocab), at any mask rate."""
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(20_000, generator=generator).clamp_min(1e-3)
    x_0 = torch.zeros(20_000, 6, dtype=torch.long)
    masked = torch.rand(x_0.shape, generator=generator) < t[:, None]
    bound = likelihood_bound(torch.zeros(20_000, 6, 4), x_0, masked, t, LinearSchedule())
    assert abs(bound.mean().item() / (6 * math.log(4)) - 1) < 0.03
