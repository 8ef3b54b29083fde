"""CHAIR on captions whose objects are plain."""

import pytest

from multimodal.errors import MultimodalError
from multimodal.evaluation.hallucination import Mentions, WordList, chair_i, chair_s, mentions_of_each, objects_in

WORDS = WordList({"dog": "dog", "puppy": "dog", "hot dog": "hot dog", "bench": "bench", "cat": "cat"})


def test_words_name_objects_with_synonyms_plurals_and_phrases():
    """Every mention counts, and the longest phrase wins."""
    assert WORDS.mentions("Two puppies? No: puppys, dogs on benches, and a hot dog.") == [
        "dog",
        "dog",
        "bench",
        "hot dog",
    ]


def test_hallucinated_and_missing_objects_are_told_apart():
    """The cat is not there, the bench is not named."""
    assert mentions_of_each(["a dog, a puppy and a cat"], [{"dog", "bench"}], WORDS) == [
        Mentions(("dog", "dog", "cat"), ("cat",), ("bench",))
    ]


def test_both_rates_are_ratios_of_sums():
    """One wrong mention in four; one caption with any in three."""
    captions, there = ["a dog and a cat", "a dog on a bench", "nothing"], [{"dog"}, {"dog", "bench"}, {"cat"}]
    mentions = mentions_of_each(captions, there, WORDS)
    assert chair_i(mentions, WORDS).value == 1 / 4
    assert chair_s(mentions, WORDS).value == 1 / 3
    assert chair_i(mentions[2:], WORDS).value == 0


def test_objects_can_be_taken_from_references():
    """What any reference names is there."""
    assert objects_in(["a dog", "someone on a bench"], WORDS) == {"dog", "bench"}


def test_lists_of_different_length_are_refused():
    """A picture too many is an error."""
    with pytest.raises(MultimodalError, match="1 hypotheses against the objects of 2 pictures"):
        mentions_of_each(["a"], [set(), set()], WORDS)
