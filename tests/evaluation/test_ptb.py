"""Words as COCO's evaluation splits them, against the stored output of its Java program and, where it is, the program.

Made by make_reference_captions.py.
"""

import json
import shutil
from importlib.util import find_spec

import pytest

from multimodal.evaluation.ptb import PUNCTUATION, ptb_words
from tests.evaluation.make_reference_captions import (
    DATA,
    FLICKR8K,
    flickr8k_captions,
    hard_texts,
    jar_words,
    sample_texts,
    sha256,
)

needs_flickr8k = pytest.mark.skipif(not FLICKR8K.is_dir(), reason="the captions of Flickr8k are not here")
needs_java = pytest.mark.skipif(
    shutil.which("java") is None or find_spec("pycocoevalcap") is None, reason="needs Java and pycocoevalcap"
)

HTML_OF_LETTERS = ("&eacute;", "&nbsp; &#39;")
"""The hard cases that are known to differ hold one of these."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man's dog, running!", "a man 's dog running"),
        ("They don't -- can't -- wait...", "they do n't ca n't wait"),
        ("a black-and-white T-shirt (red)", "a black-and-white t-shirt -lrb- red -rrb-"),
        ("Mr. Smith, the U.S. and no. 5", "mr. smith the u.s. and no. 5"),
        ("$1,000.50 or 50% off?!", "$ 1,000.50 or 50 % off ?!"),
        ("I cannot; we're gonna. 'Tis", "i can not we 're gon na 't is"),
        ("1 1/2 cups", "1\u00a01/2 cups"),
        ("“It’s fine”, 😀 café", "it 's fine café"),
        ("", ""),
        ("   ", ""),
        ("'", ""),
    ],
)
def test_words_of_cases_checked_by_hand(text, words):
    """Contractions, compounds, abbreviations, money, quotes of both kinds, signs that the lexer drops."""
    assert ptb_words(text) == (words.split(" ") if words else [])


def test_words_equal_the_stored_output_of_the_jar():
    """On hand-made hard cases, but for those that are listed, and on every text of the sample corpus."""
    hard = hard_texts()
    stored = (DATA / "ptb_words.txt").read_text(encoding="utf-8").split("\n")[:-1]
    known = [text for text in hard if any(entity in text for entity in HTML_OF_LETTERS)]
    differing = [text for text, words in zip(hard, stored, strict=False) if " ".join(ptb_words(text)) != words]
    assert differing == known and len(known) == 2 and len(hard) > 150
    assert [" ".join(ptb_words(text)) for text in sample_texts()] == stored[len(hard) :]


def test_a_caption_is_split_alike_alone_and_among_others():
    """Unlike the jar's, the words of a text do not depend on what was split before."""
    alone = [ptb_words(text) for text in hard_texts()]
    assert alone == [ptb_words(text) for text in hard_texts()]
    assert not any(set(words) & PUNCTUATION for words in alone)


@needs_flickr8k
@pytest.mark.parametrize("part", ["dev", "all"])
def test_words_equal_the_jars_on_every_caption_of_flickr8k(part):
    """All 5,000 of dev and all 35,000 of train and dev; there is no difference to list."""
    stored = json.loads((DATA / "ptb_flickr8k.json").read_text())[part]
    captions = flickr8k_captions()[part]
    assert len(captions) == stored["captions"] == {"dev": 5_000, "all": 35_000}[part]
    assert sha256(" ".join(ptb_words(text)) for text in captions) == stored["sha256"]


@needs_java
def test_the_stored_output_is_what_the_jar_gives():
    """Nobody has edited it."""
    stored = (DATA / "ptb_words.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert jar_words(hard_texts()) == stored[: len(hard_texts())]
