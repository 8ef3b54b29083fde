"""Whisper's and the Open ASR leaderboard's normalisers against their own assertions, outputs and reference code."""

import json
import random
from pathlib import Path

import pytest
from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from multimodal.errors import MultimodalError
from multimodal.evaluation.error_rates import cer, wer
from multimodal.evaluation.normalizers import (
    _rules,
    is_scored,
    normaliser_of,
    open_asr,
    whisper_basic,
    whisper_english,
)

STORED = Path(__file__).parents[2] / ".." / "shared" / "realdata" / "metrics" / "whisper_normalizer.json"
stored = pytest.mark.skipif(not STORED.is_file(), reason="the stored reference outputs are not here")

OPEN_ASR = {
    "Wait... what?": "wait what",
    "And so it ends...": "and so it ends",
    "the U.S.A. and the u.k": "the usa and the uk",
    "She lives in the U.S.": "she lives in the us",
    "three D.V.D.s": "3 dvds",
    "N.A.T.O forces": "nato forces",
    "J. R. R. Tolkien wrote twenty one books": "j r r tolkien wrote 21 books",
    "it's the a.b.c.'s colour": "it is the abc is color",
    "Mr. Park paid $20 million, uh, [laughs] in 1999": "mister park paid $20000000 in 1999",
}
"""Outputs of the steps of normalizer/normalizer.py of huggingface/open_asr_leaderboard (commit 0c261bfd), run once."""


@stored
def test_all_assertions_of_whisper_hold():
    """The 60 assertions of whisper's own test_normalizer.py."""
    cases = json.loads(STORED.read_text())["cases"]
    by_group = {
        "test_number_normalizer": _rules().numbers,
        "test_spelling_normalizer": _rules().spellings,
        "test_text_normalizer": whisper_english,
    }
    assert len(cases) >= 60
    assert [case for case in cases if by_group[case["group"]](case["input"]) != case["expected"]] == []


@stored
def test_real_transcripts_are_normalised_as_by_whisper():
    """133 sentences of a read book, both normalisers."""
    for example in json.loads(STORED.read_text())["lj_examples"]:
        assert whisper_english(example["input"]) == example["english"]
        assert whisper_basic(example["input"]) == example["basic"]


def test_any_text_is_normalised_as_by_the_reference_code():
    """Random mixtures of numbers, contractions, titles, symbols and words, against transformers' copy of Whisper's."""
    english = EnglishTextNormalizer(_rules().spellings.mapping)
    basic = BasicTextNormalizer()
    rng = random.Random(0)
    hard = ("kinda", "cause", "o'clock", "won't", "they'd been", "Mr.", "St.", "naïve", "Æon", "½", "²", "$3.50", "5%")
    also = (
        "[noise]",
        "(aside)",
        "um",
        "1,000",
        "0.5",
        "the",
        "colour",
        "THEATRE",
        "...",
        "—",
        "\t",
        "and a half",
        "'s",
    )
    words = (*sorted(english.standardize_numbers.words), *hard * 3, *also * 3)
    for _ in range(1500):
        text = " ".join(rng.choice(words) for _ in range(rng.randint(1, 9)))
        assert whisper_english(text) == english(text), text
        assert whisper_basic(text) == basic(text), text


@pytest.mark.parametrize("text", OPEN_ASR)
def test_the_leaderboards_normaliser_closes_abbreviations(text):
    """Where the leaderboard differs from Whisper: ellipses and abbreviations."""
    assert open_asr(text) == OPEN_ASR[text]


def test_the_leaderboards_normaliser_is_whispers_elsewhere():
    """Without abbreviations and ellipses nothing differs."""
    text = "They're gonna see twenty-one colours, uh, at the theatre"
    assert open_asr(text) == whisper_english(text) == "they are going to see 21 colors at the theater"


def test_references_that_say_nothing_are_not_scored_by_the_leaderboard():
    """A reference of noise only is left out there; elsewhere each word against it is an error."""
    assert not is_scored("open_asr", "[noise]") and not is_scored("open_asr", "Ignore time segment in scoring.")
    assert is_scored("english", "[noise]") and is_scored("open_asr", "hello")
    left_out = wer(["a b", "hello"], ["[noise]", "hello"], normaliser="open_asr")
    assert left_out.value == 0 and left_out.counts["hits"] == 1
    assert wer(["a b", "hello"], ["[noise]", "hello"], normaliser="english").counts["insertions"] == 2


def test_the_choice_changes_the_rate_and_is_in_its_signature():
    """Case, punctuation and written numbers are errors until they are normalised."""
    hypotheses, references = ["He has twenty-one colours."], ["he has 21 colors"]
    rates = {name: wer(hypotheses, references, normaliser=name) for name in ("none", "basic", "english", "open_asr")}
    assert [round(rates[name].value, 2) for name in rates] == [0.75, 0.75, 0.0, 0.0]
    assert all(f"normaliser:{name}" in rates[name].signature for name in rates)
    assert len({score.signature for score in rates.values()}) == 4
    assert cer(["A!b"], ["ab"], normaliser="basic").counts["insertions"] == 1  # a space stands for the symbol


def test_an_unknown_normaliser_is_named():
    """A misspelt choice says what there is."""
    with pytest.raises(MultimodalError, match="no text normaliser 'whisper'; choose one of none, basic"):
        normaliser_of("whisper")
