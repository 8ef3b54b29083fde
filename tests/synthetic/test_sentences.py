"""Sentences in two styles: the same content, and never one of the corpus's in pretraining."""

import random

from multimodal.synthetic.scenes import COLOURS, HELD_OUT_PAIRS, SHAPES
from multimodal.synthetic.sentences import corpus_wordings, describe_twice, noisy_sentence
from multimodal.synthetic.utterances import is_for_corpus


def test_both_styles_describe_the_same_scene():
    """Formal and informal wordings name the same colours and shapes in the same order, and both tell the background."""
    rng = random.Random(0)
    content = {*COLOURS, *SHAPES}
    for _ in range(200):
        wordings = describe_twice(rng)
        formal, informal = (text.split() for text in wordings.sentences)
        named = [word for word in formal[: formal.index("against")] if word in content]
        assert formal != informal
        assert named == [word for word in informal if word in content][: len(named)]


def test_both_styles_tell_the_same_relations():
    """Where the formal wording says above, the informal one says over, and so on."""
    rng = random.Random(1)
    for _ in range(200):
        formal, informal = describe_twice(rng).sentences
        for elevated, simple in (("above", "over"), ("below", "under"), ("left of",) * 2, ("right of",) * 2):
            assert formal.count(f" {elevated} ") == informal.count(f" {simple} ")


def test_corpus_and_pretraining_share_no_sentence():
    """The corpus takes sentences of its own third only, pretraining of the rest only."""
    rng = random.Random(2)
    for of_scenes in (True, False):
        assert all(map(is_for_corpus, corpus_wordings(rng, of_scenes).sentences))
    assert not any(is_for_corpus(noisy_sentence(rng)[1]) for _ in range(300))


def test_pretraining_sees_noise_and_clean_text_but_no_held_out_pair():
    """Most sentences are noisy, some are clean (restyling starts from clean text), none tells of a held-out pair."""
    rng = random.Random(3)
    pairs = [noisy_sentence(rng) for _ in range(500)]
    assert 0.05 < sum(noisy == clean for noisy, clean in pairs) / len(pairs) < 0.25
    assert not any(f"{colour} {shape}" in clean for colour, shape in HELD_OUT_PAIRS for _, clean in pairs)
