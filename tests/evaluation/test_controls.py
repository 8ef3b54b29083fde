"""The controls: what can be reached without looking, and by looking things up."""

import numpy as np
import pytest

from multimodal.evaluation.controls import constant_answer, derangement, nearest_answers, words_for_gap
from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics import Wer
from multimodal.sample import Split, Task


def made_item(number: int, text: str, task: Task = Task.CAPTION, shown: str = "") -> Item:
    return Item(f"s{number}", task, Split.TRAIN, f"c{number}", (text,), shown)


class Vectors:
    """A store of given pooled vectors."""

    def __init__(self, vectors):
        self.vectors = vectors

    def pooled(self, content_id):
        return np.asarray(self.vectors[content_id])


@pytest.mark.parametrize("size", [2, 3, 10, 101])
def test_a_derangement_moves_everything_and_loses_nothing(size):
    """Each position appears once and nothing stays where it was."""
    order = derangement(size)
    assert sorted(order) == list(range(size))
    assert all(index != moved for index, moved in enumerate(order))


def test_the_constant_answer_is_no_worse_than_any_train_text():
    """By the task's own metric on train, no single train text would have been better."""
    texts = ["one two three", "one two four", "one five six", "seven"] * 3
    train = [made_item(number, text, Task.TRANSCRIBE) for number, text in enumerate(texts)]
    chosen = constant_answer(train)
    errors = {text: Wer().score(train, [text] * len(train)).value for text in {*texts, chosen, ""}}
    assert errors[chosen] == min(errors.values())


def test_the_constant_filling_is_a_frequent_one():
    """Of infill the most frequent words are the best constant."""
    train = [made_item(n, word, Task.INFILL, "a ___ z") for n, word in enumerate(["b", "b", "c"])]
    assert constant_answer(train) == "b"


def test_the_nearest_answer_is_found_by_angle_not_by_length():
    """A long vector in the same direction is nearer than a short one beside it."""
    train = [made_item(1, "same direction"), made_item(2, "close by")]
    store = Vectors({"c1": [100.0, 0.0], "c2": [0.9, 0.5], "c9": [1.0, 0.0]})
    assert nearest_answers([made_item(9, "?")], train, store) == ["same direction"]


def test_the_nearest_filling_comes_from_the_most_similar_train_text():
    """The words between the same neighbours in the nearest train text fill the gap."""
    texts = ["the red dog sleeps under the old table", "a blue boat sails past the harbour"]
    train = [
        made_item(n, text.split()[2], Task.INFILL, text.replace(text.split()[2], "___", 1))
        for n, text in enumerate(texts)
    ]
    asked = made_item(9, "small dog", Task.INFILL, "the red ___ sleeps under the new table")
    assert nearest_answers([asked], train, None) == ["dog"]


@pytest.mark.parametrize(
    ("gapped", "donor", "words"),
    [
        ("a ___ d", "a b c d", "b c"),
        ("a ___", "x a b c", "b c"),
        ("___ c", "a b c", "a b"),
        ("q ___ r", "a b c", "b"),
        ("a b c ___", "d", "d"),
        ("___", "a b", "a b"),
    ],
)
def test_words_for_a_gap_stand_between_its_neighbours(gapped, donor, words):
    """Between the same neighbours where the donor has them, else one word at the same place."""
    assert words_for_gap(gapped, donor) == words
