"""Losses as sums with weights."""

import math

import torch

from multimodal.diffusion.loss import confidence_loss, weighted_cross_entropy


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


def test_doubt_counts_only_where_the_answer_is_right() -> None:
    """The weighted mean entropy of right predictions, by hand; a wrong one adds nothing, however doubtful."""
    probs = torch.tensor([[0.5, 0.25, 0.25], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    x_0, weights = torch.tensor([0, 1, 1]), torch.tensor([1.0, 1.0, 0.1])
    first, last = 1.5 * math.log(2), -(0.8 * math.log(0.8) + 0.2 * math.log(0.1))
    loss = confidence_loss(probs.log(), x_0, weights)
    torch.testing.assert_close(loss.mean, torch.tensor((first + 0.1 * last) / 1.1))
    torch.testing.assert_close(loss.weight, torch.tensor(1.1))


def test_less_doubt_is_more_confidence() -> None:
    """Its gradient raises the right token's logit where that is the likeliest, and moves no other position."""
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    confidence_loss(logits, torch.tensor([0, 0]), torch.ones(2)).mean.backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1] and not logits.grad[1].any()


def test_all_wrong_costs_no_doubt() -> None:
    """Zero, not a division by zero."""
    assert confidence_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([0]), torch.ones(1)).mean == 0
