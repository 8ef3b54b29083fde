"""Variety, repetition, length and copies on texts whose numbers can be counted by hand."""

import math

import pytest

from multimodal.errors import MultimodalError
from multimodal.evaluation.diversity import (
    copy_rate,
    distinct_n,
    length_error,
    repetition_rate,
    self_cider,
    tokenised_set,
)


def test_distinct_counts_over_the_whole_corpus():
    """Five different words among eight, four different pairs among six."""
    texts = ["a red dog runs", "A red dog sits."]
    assert distinct_n(texts, 1).value == 5 / 8
    assert distinct_n(texts, 2).value == 4 / 6
    assert distinct_n(texts, 2).name == "distinct_2"
    assert distinct_n(["", "a"], 2).value == 0


def test_repetition_looks_inside_each_text_only():
    """The same text twice repeats nothing; a text that says a phrase again does."""
    assert repetition_rate(["on the red mat", "on the red mat"]).value == 0
    score = repetition_rate(["on the mat on the mat", "one two three"])  # on-the-mat comes twice among 4 + 1
    assert score.value == 1 / 5
    assert repetition_rate(["red red red"], order=1).value == 2 / 3


def test_length_error_is_measured_to_the_reference_of_the_nearest_length():
    """Two words off against references of 3 and 6, none off in the second text."""
    score = length_error(["a b c d", "a b"], [["a b c d e f", "a"], ["x y"]])
    assert score.value == 2 / 8 and score.counts["length_ratio"] == 6 / 8
    with pytest.raises(MultimodalError, match="no reference"):
        length_error(["a"], [[]])


def test_copies_are_found_whatever_the_case_and_punctuation():
    """One of two texts stands in train."""
    train = tokenised_set(["A red dog.", "a cat", "A cat"])
    score = copy_rate(["a red dog", "a red"], train)
    assert score.value == 1 / 2 and score.counts["train_texts"] == 2


REFERENCES = [["a red dog runs fast"], ["the blue cat sits on a mat"], ["green birds fly over the sea"]]


def test_self_cider_is_zero_for_the_same_and_one_for_unlike_captions():
    """One eigenvalue has it all, or all have the same."""
    same = [["a red dog runs fast"] * 3]
    unlike = [["red dog runs fast now", "blue cat sits still there", "green birds fly over sea"]]
    assert self_cider(same * 3, REFERENCES).value == pytest.approx(0, abs=1e-6)
    assert self_cider(unlike * 3, REFERENCES).value == pytest.approx(1)


def test_self_cider_of_two_captions_follows_the_formula():
    """Of two captions with likeness s the eigenvalues are 1 + s and 1 - s."""
    captions = ["red dog", "red cat"]  # only "red" is shared, in unigrams: its weight decides
    red, dog, cat = math.log(3), math.log(3), math.log(3)
    likeness = (red * red) / (math.hypot(red, dog) * math.hypot(red, cat)) / 4
    orders_without_ngrams = 2  # no runs of three and four words: they add nothing to the diagonal either
    diagonal = (4 - orders_without_ngrams) / 4
    first, second = math.sqrt(diagonal + likeness), math.sqrt(diagonal - likeness)
    expected = -math.log(first / (first + second)) / math.log(2)
    assert self_cider([captions] * 3, REFERENCES).value == pytest.approx(expected)


def test_one_caption_has_no_diversity():
    """The cure is in the message."""
    with pytest.raises(MultimodalError, match="write at least two"):
        self_cider([["a"]], [["a"]])
