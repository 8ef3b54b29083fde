"""Minimum-Bayes-risk choice."""

import pytest

from multimodal.generation.consensus import most_agreeable, ngram_f1


def test_overlap_counts_words_and_pairs() -> None:
    """Two of three words and one of two pairs are shared: 2 * 3 / (5 + 5)."""
    assert ngram_f1("a red circle", "a red square") == pytest.approx(6 / 10)
    assert ngram_f1("a a", "a") == pytest.approx(2 / 4)


def test_overlap_at_both_ends() -> None:
    """Equal texts, empty ones too, have 1, disjoint ones 0."""
    assert ngram_f1("a red circle", "a red circle") == ngram_f1("", "") == 1
    assert ngram_f1("a red circle", "turn left") == ngram_f1("a", "") == 0


def test_the_odd_one_out_is_not_chosen() -> None:
    """The text that shares most with the others wins, wherever it stands."""
    texts = ["go home now", "a red circle on sand", "a red circle on grass", "a blue circle on grass"]
    assert most_agreeable(texts) == 2
    assert most_agreeable(texts[::-1]) == 1


def test_ties_go_to_the_first() -> None:
    """So that one candidate, and equal ones, need no rule of their own."""
    assert most_agreeable(["alone"]) == most_agreeable(["same", "same", "same"]) == 0
