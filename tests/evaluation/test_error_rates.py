"""Error rates against hand-made cases and stored values of jiwer."""

import json
import random
from pathlib import Path

import jiwer
import pytest

from multimodal.errors import MultimodalError
from multimodal.evaluation.error_rates import (
    cer,
    cer_improvement,
    error_counts_of_each,
    exact_match,
    mer,
    wer,
    wil,
    word_alignment,
)

STORED = Path(__file__).parents[2] / ".." / "shared" / "realdata" / "metrics" / "jiwer_cases.json"
COUNTS = {"hits": "hits", "substitutions": "sub", "deletions": "del", "insertions": "ins"}


def test_word_error_rate_is_a_ratio_of_sums():
    """One error in one word and none in nine are 10 %, not the mean of 100 % and 0 %."""
    score = wer(["x", "b c d e f g h i j"], ["a", "b c d e f g h i j"])
    assert score.value == pytest.approx(1 / 10)
    assert score.counts == {"hits": 9, "substitutions": 1, "deletions": 0, "insertions": 0, "samples": 2}


def test_character_error_rate_counts_spaces():
    """Two words run together are one deletion in nine characters."""
    assert cer(["redcircle"[:8]], ["red circl"]).value == pytest.approx(1 / 9)


def test_improvement_is_one_when_clean_zero_when_copied_and_negative_when_worse():
    """The scale that denoise is judged by."""
    reference, noisy = ["the cat", "a dog"], ["teh cat", "a dgo"]
    assert cer_improvement(reference, reference, noisy).value == 1
    assert cer_improvement(noisy, reference, noisy).value == 0
    assert cer_improvement(["", ""], reference, noisy).value < 0
    assert cer_improvement(["the cat", "a dgo"], reference, noisy).value == pytest.approx(1 / 2)


def test_improvement_over_inputs_without_errors_is_defined():
    """Clean inputs left clean count as perfect; each error put in counts against."""
    assert cer_improvement(["abc"], ["abc"], ["abc"]).value == 1
    assert cer_improvement(["abd"], ["abc"], ["abc"]).value == 0


def test_exact_match_looks_at_all_references_and_forgives_only_white_space():
    """Case and letters count, double spaces do not."""
    score = exact_match(["a  b", "A b", "c"], [["x", "a b"], ["a b"], ["c"]])
    assert score.value == pytest.approx(2 / 3)
    assert score.counts == {"right": 2, "samples": 3}


def test_lists_of_different_length_are_refused():
    """A hypothesis too few is an error, not a shorter corpus."""
    with pytest.raises(MultimodalError, match="1 hypotheses against 2"):
        wer(["a"], ["a", "b"])


@pytest.mark.skipif(not STORED.is_file(), reason="the stored reference scores are not here")
def test_rates_and_counts_equal_those_of_jiwer():
    """WER, MER, WIL, CER and the counts of hits, substitutions, deletions and insertions, on all stored cases."""
    for case in json.loads(STORED.read_text())["cases"]:
        hypotheses, references = ([case[key]] if isinstance(case[key], str) else case[key] for key in ("hyp", "ref"))
        for metric in (wer, mer, wil, cer):
            assert metric(hypotheses, references).value == pytest.approx(case[metric.__name__], abs=1e-6)
        counts = wer(hypotheses, references).counts
        assert {theirs: counts[ours] for ours, theirs in COUNTS.items()} == {
            name: case[name] for name in COUNTS.values()
        }


@pytest.mark.parametrize("seed", range(4))
def test_any_texts_are_counted_as_by_jiwer(seed):
    """Random pairs, empty and oddly spaced texts too: every count, rate and sum equals jiwer's."""
    rng = random.Random(seed)
    alphabet = ("a", "b", "ab", "c d", " ", "  ", "\t", "\n ", "é", "\u00a0")
    hypotheses, references = ([_text(rng, alphabet) for _ in range(80)] for _ in range(2))
    words = jiwer.process_words(references, hypotheses)
    for metric in (wer, mer, wil):
        assert metric(hypotheses, references).value == pytest.approx(getattr(words, metric.__name__), abs=1e-12)
    assert cer(hypotheses, references).value == pytest.approx(jiwer.cer(references, hypotheses), abs=1e-12)
    counts = error_counts_of_each(hypotheses, references)
    assert counts.shape == (80, 4)
    for row, hypothesis, reference in zip(counts, hypotheses, references, strict=True):
        one = jiwer.process_words(reference, hypothesis)
        assert tuple(row) == (one.hits, one.substitutions, one.deletions, one.insertions)
        assert wer([hypothesis], [reference]).value == pytest.approx(one.wer)
        assert wil([hypothesis], [reference]).value == pytest.approx(one.wil)
        assert mer([hypothesis], [reference]).value == pytest.approx(one.mer)


def _text(rng, alphabet):
    return "".join(rng.choice(alphabet) + rng.choice((" ", "")) for _ in range(rng.randint(0, 9)))


def test_the_rate_of_a_corpus_is_the_ratio_of_the_sums_of_each():
    """What is resampled for an interval gives the score when nothing is left out."""
    hypotheses, references = ["a x c", "", "d e f"], ["a b c", "b", "d f"]
    hits, substitutions, deletions, insertions = error_counts_of_each(hypotheses, references).sum(axis=0)
    errors = substitutions + deletions + insertions
    assert wer(hypotheses, references).value == errors / (hits + substitutions + deletions) == 3 / 6


def test_counts_handed_out_are_a_copy():
    """Writing into the counts of one call does not change those of the next."""
    error_counts_of_each(["a"], ["b"])[:] = 9
    assert error_counts_of_each(["a"], ["b"]).tolist() == [[0, 1, 0, 0]]


def test_alignment_says_what_became_of_each_word():
    """Every kind of edit, in order, with the side that lacks a word None."""
    assert word_alignment("the big cat on mat now", "the cat sat on a mat now") == [
        ("equal", "the", "the"),
        ("insert", None, "big"),
        ("equal", "cat", "cat"),
        ("delete", "sat", None),
        ("equal", "on", "on"),
        ("delete", "a", None),
        ("equal", "mat", "mat"),
        ("equal", "now", "now"),
    ]
    assert word_alignment("x", "y") == [("replace", "y", "x")]
    assert word_alignment("Colour", "color", normaliser="english") == [("equal", "color", "color")]
    assert word_alignment("", "") == []
