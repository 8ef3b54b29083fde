"""Self-distillation through time, on a world of two tokens whose probabilities are all known."""

import math

import pytest
import torch
from torch import Tensor

from multimodal.diffusion.distillation import SelfDistillation, divergence

MASK = 2
JOINT = torch.tensor([[0.4, 0.2], [0.1, 0.3]])
"""p(first, second) over the words 0 and 1."""


def exact(tokens: Tensor) -> Tensor:
    """Logits of each token given the other, where that is visible; the mask's own is the highest of all."""
    logits = torch.zeros(*tokens.shape, 3)
    for row, pair in enumerate(tokens.tolist()):
        for place, other in enumerate(reversed(pair)):
            joint = JOINT if place == 0 else JOINT.T
            logits[row, place, :2] = (joint.sum(1) if other == MASK else joint[:, other]).log()
            logits[row, place, MASK] = 5.0
    return logits


def targets(of: SelfDistillation, x_t: list[list[int]], t: float = 1.0, seed: int = 0) -> Tensor:
    """Probabilities that a student of the exact teacher learns."""
    tokens = torch.tensor(x_t)
    times = torch.full((len(x_t),), t)
    return of.targets(exact, tokens, times, torch.Generator().manual_seed(seed)).exp()


def test_a_confident_teacher_says_the_text_that_it_writes() -> None:
    """In two steps 0, the surest of both places' words, and then what is likeliest beside it; in one both at once."""
    (pair,) = targets(SelfDistillation(MASK, 1, 2), [[MASK, MASK]])
    torch.testing.assert_close(pair, torch.tensor([[1.0, 0, 0], [1.0, 0, 0]]))
    (wrong,) = targets(SelfDistillation(MASK, 1, 2), [[1, MASK]])
    torch.testing.assert_close(wrong[1], torch.tensor([0.0, 1.0, 0.0]))


def test_masks_that_stay_closed_are_told_what_the_last_call_says() -> None:
    """Of a student with two steps, whose teacher takes two in each: four calls for two masks open one in the first
    half, and the other one is told its probability given that."""
    (pair,) = targets(SelfDistillation(MASK, 2, 2), [[MASK, MASK]])
    torch.testing.assert_close(pair, torch.tensor([[1.0, 0, 0], [2 / 3, 1 / 3, 0]]))


def test_visible_tokens_are_told_what_the_first_call_says() -> None:
    """A wrong token of the hybrid process learns what its teacher would put there, mask excluded."""
    (pair,) = targets(SelfDistillation(MASK, 1, 2), [[1, MASK]])
    torch.testing.assert_close(pair[0], torch.tensor([0.6, 0.4, 0.0]))


def test_an_ancestral_teacher_says_its_distributions() -> None:
    """Of the mask that it draws first the marginal, of the other one that given the draw."""
    found = targets(SelfDistillation(MASK, 1, 2, confident=False), [[MASK, MASK]] * 400)
    first_drawn = {(0.6, 0.667), (0.6, 0.25)}
    second_drawn = {(0.8, 0.5), (0.4, 0.5)}
    assert {tuple(round(value, 3) for value in pair[:, 0].tolist()) for pair in found} == first_drawn | second_drawn
    assert not found[..., MASK].any()


def test_drawn_targets_are_on_average_the_first_call() -> None:
    """Predictions of an exact teacher are a martingale: what draws add is gone in the mean."""
    found = targets(SelfDistillation(MASK, 1, 2, confident=False), [[MASK, MASK]] * 4000)
    torch.testing.assert_close(found.mean(0)[:, 0], torch.tensor([0.6, 0.5]), atol=0.01, rtol=0)


def test_times_are_where_a_step_begins() -> None:
    """The end of the step that a time lies in; an end itself stays."""
    steps = SelfDistillation(MASK, 4)
    torch.testing.assert_close(
        steps.times(torch.tensor([0.01, 0.25, 0.26, 0.9, 1.0])), torch.tensor([1, 1, 2, 4, 4]) / 4
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_divergence_by_hand(reverse: bool) -> None:
    """KL of (1/2, 1/2) and (1/4, 3/4) both ways, weighted; none between equals."""
    student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    forward = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    backward = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    loss = divergence(student, teacher, torch.tensor([0.1]), reverse)
    torch.testing.assert_close(loss.mean, torch.tensor(backward if reverse else forward))
    torch.testing.assert_close(loss.sum, 0.1 * loss.mean)
    assert divergence(student, student, torch.ones(1), reverse).mean == 0


def test_a_certain_target_costs_cross_entropy() -> None:
    """What a confident teacher wrote is a token: the loss is minus the log of its probability, and finite."""
    steps = SelfDistillation(MASK, 1)
    said = steps.log_probs(torch.tensor([[1.0, 0.0, 3.0]]))
    written = steps.targets(exact, torch.tensor([[MASK, MASK]]), torch.ones(1), torch.Generator())[0, :1]
    loss = steps.loss(said, written, torch.ones(1)).mean
    torch.testing.assert_close(loss, torch.tensor(math.log1p(math.exp(-1.0))))
