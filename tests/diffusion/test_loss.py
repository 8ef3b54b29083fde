"""Losses as sums with weights."""

import math

import torch

from multimodal.diffusion.loss import weighted_cross_entropy


def test_mean_of_an_ignorant_guess() -> None:
    """Equal logits cost log(vocab) per position."""
    loss = weighted_cross_entropy(torch.zeros(2, 8), torch.tensor([2, 4]))
    torch.testing.assert_close(loss.mean, torch.tensor(math.log(8)))
    assert loss.weight == 2


def test_weights_are_relative() -> None:
    """A position of weight 0.1 counts a tenth in the sum and in the divisor."""
    logits = torch.zeros(2, 4)
    logits[1, 0] = 100.0
    loss = weighted_cross_entropy(logits, torch.tensor([0, 0]), torch.tensor([0.1, 1.0]))
    torch.testing.assert_close(loss.mean, torch.tensor(0.1 * math.log(4) / 1.1))


def test_nothing_scored_costs_nothing() -> None:
    """Zero, not a division by zero."""
    assert weighted_cross_entropy(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)).mean == 0


def test_sums_of_losses_are_means_over_all() -> None:
    """Two batches of different size weigh by their positions."""
    logits, x_0 = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0])
    parts = weighted_cross_entropy(logits[:2], x_0[:2]) + weighted_cross_entropy(logits[2:], x_0[2:])
    torch.testing.assert_close(parts.mean, weighted_cross_entropy(logits, x_0).mean)
