"""CTC: labels, the loss of a certain path, and the greedy reading."""

import math

import torch

from multimodal.encoders.ctc import ALPHABET, BLANK, ctc_loss, greedy_texts, to_labels


def certain(path: list[int], confidence: float = 30.0) -> torch.Tensor:
    """Logits [1, n, classes] that are sure of a path."""
    return confidence * torch.nn.functional.one_hot(torch.tensor([path]), len(ALPHABET) + 1).float()


def test_labels_are_the_alphabet_in_lower_case_with_single_spaces() -> None:
    """What is not in the alphabet parts words."""
    assert to_labels("Don't  stop, no-one") == [ALPHABET.index(letter) + 1 for letter in "don't stop no one"]
    assert to_labels("1984") == []


def test_greedy_reading_merges_repeats_and_drops_blanks() -> None:
    """A blank between two equal letters keeps both; the padded end is not read."""
    a, b = to_labels("ab")
    path = [BLANK, a, a, BLANK, a, b, b, b]
    mask = torch.tensor([[True] * 6 + [False] * 2])
    assert greedy_texts(certain(path), mask) == ["aab"]
    assert greedy_texts(certain(path), ~mask) == ["b"]


def test_loss_of_a_certain_path_is_zero_and_of_an_impossible_one_counts_zero() -> None:
    """A sure and right path costs nothing; more labels than states cost nothing either, instead of infinity."""
    a, b = to_labels("ab")
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert float(ctc_loss(certain([a, BLANK, b]), mask, [[a, b]])) < 1e-4
    assert float(ctc_loss(certain([a, BLANK, b]), mask, [[a, b, a, b]])) == 0
    wrong = float(ctc_loss(certain([a, BLANK, b]), mask, [[b, a]]))
    assert math.isfinite(wrong)
    assert wrong > 10


def test_padded_states_do_not_change_the_loss() -> None:
    """Whatever stands behind the mask, the loss is the same."""
    labels = [to_labels("ab")]
    logits = torch.randn(1, 6, len(ALPHABET) + 1, generator=torch.Generator().manual_seed(0))
    longer = torch.cat([logits, 9 * torch.ones(1, 3, len(ALPHABET) + 1)], dim=1)
    mask = torch.tensor([[True] * 6 + [False] * 3])
    assert torch.allclose(ctc_loss(logits, mask[:, :6], labels), ctc_loss(longer, mask, labels))
