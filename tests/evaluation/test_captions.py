"""BLEU, ROUGE-L and CIDEr-D against values worked out by hand and against stored values of pycocoevalcap."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from multimodal.errors import MultimodalError
from multimodal.evaluation.captions import (
    bleu_from_statistics,
    bleu_statistics,
    cider_d,
    cider_d_of_each,
    corpus_bleu,
    given_words,
    longest_common_subsequence,
    rouge_l,
    rouge_l_of_each,
)

REALDATA = Path(__file__).parents[2] / ".." / "shared" / "realdata" / "metrics"
needs_realdata = pytest.mark.skipif(not REALDATA.is_dir(), reason="the stored reference scores are not here")


def test_bleu_of_a_case_worked_out_by_hand():
    """Four of five words match and two of four pairs, against the reference of the closer length."""
    scores = corpus_bleu(["the cat sat on rugs"], [["the cat sat on mats", "a cat"]])
    values = {score.name: score.value for score in scores}
    assert values["bleu_1"] == pytest.approx(4 / 5)
    assert values["bleu_2"] == pytest.approx(math.sqrt(4 / 5 * 3 / 4))
    assert values["bleu_4"] == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert scores[3].counts["reference_length"] == 5


def test_bleu_counts_a_repeated_word_no_more_often_than_a_reference_does():
    """The example of the defining paper: seven times "the" matches twice."""
    score = corpus_bleu(["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]])[0]
    assert score.value == pytest.approx(2 / 7)
    assert (score.counts["matches"], score.counts["guesses"]) == (2, 7)


def test_bleu_punishes_brevity_over_the_corpus_not_per_sentence():
    """A short text is made up for by a long one elsewhere."""
    short, full = corpus_bleu(["a b"], [["a b c d"]])[0], corpus_bleu(["a b", "e f g h"], [["a b c d"], ["e f"]])[0]
    assert short.value == pytest.approx(math.exp(1 - 4 / 2))
    assert full.value == pytest.approx(4 / 6)


def test_rouge_l_of_a_case_worked_out_by_hand():
    """A common subsequence of three words: precision 3/4, recall 3/5, beta 1.2."""
    expected = (1 + 1.44) * (3 / 4) * (3 / 5) / (3 / 5 + 1.44 * (3 / 4))
    assert rouge_l(["a b x c"], [["a y b z c"]]).value == pytest.approx(expected)
    assert longest_common_subsequence(["a", "b", "x", "c"], ["a", "y", "b", "z", "c"]) == 3


def test_cider_d_of_equal_texts_is_ten_and_of_disjoint_texts_zero():
    """Hypotheses equal to their only reference reach the maximum when no n-gram is shared between pictures."""
    references = [["a b c d e"], ["f g h i j"]]
    assert cider_d(["a b c d e", "f g h i j"], references).value == pytest.approx(10)
    assert cider_d(["f g h i j", "a b c d e"], references).value == 0


def test_cider_d_ignores_what_every_picture_says():
    """An n-gram found with every picture tells nothing: its weight is log 1 = 0."""
    assert cider_d_of_each(["red", "blue"], [["red"], ["red"]]) == [0, 0]


def test_empty_hypotheses_score_zero():
    """A model that writes nothing gets 0 and no error."""
    references = [["a dog runs"], ["a cat sleeps"]]
    assert [score.value for score in corpus_bleu(["", ""], references)] == [0, 0, 0, 0]
    assert rouge_l(["", ""], references).value == 0
    assert cider_d(["", ""], references).value == 0


def test_the_tokeniser_is_that_of_coco_and_named_in_the_signature():
    """Punctuation and case do not count, and nobody has to ask how the words were split."""
    scores = [*corpus_bleu(["A dog's ball."], [["a dog's ball"]]), rouge_l(["A ball!"], [["a ball"]])]
    assert scores[0].counts["matches"] == 4
    assert scores[-1].value == pytest.approx(1)
    assert all(score.signature.endswith("|coco|tok:ptb_words") for score in scores)


def test_bleu_statistics_of_one_picture_are_its_matches_guesses_and_lengths():
    """ "the cat sat on rugs" against two references, the nearer of which has five words."""
    statistics = bleu_statistics(["the cat sat on rugs", ""], [["the cat sat on mats", "a cat"], ["x"]])
    assert statistics.tolist() == [[4, 3, 2, 1, 5, 4, 3, 2, 5, 5], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]


def test_bleu_of_many_resamples_comes_from_sums_of_the_statistics():
    """Each resample scores as the corpus of the pictures drawn does, repeated ones included."""
    generator = np.random.default_rng(3)
    hypotheses, references = random_captions(generator, 12)
    statistics = bleu_statistics(hypotheses, references)
    drawn = generator.integers(0, 12, (5, 12))
    values = bleu_from_statistics(statistics[drawn])
    draws = np.stack([np.bincount(row, minlength=12) for row in drawn])
    assert values.shape == (5, 4)
    assert bleu_from_statistics((draws @ statistics)[:, None]) == pytest.approx(values)
    for row, expected in zip(drawn, values, strict=True):
        scores = corpus_bleu([hypotheses[index] for index in row], [references[index] for index in row])
        assert [score.value for score in scores] == pytest.approx(expected)


def test_all_scores_equal_the_reference_implementation_on_random_captions():
    """Within 1e-9 of pycocoevalcap, for texts that repeat words, share none, are empty or hold no-break spaces."""
    pytest.importorskip("pycocoevalcap")
    hypotheses, references = random_captions(np.random.default_rng(5), 60)
    bleu, rouge, cider = reference_scores(hypotheses, references)
    scores = _all_scores(hypotheses, references, split_at_spaces)
    assert [scores[f"bleu_{order}"] for order in range(1, 5)] == pytest.approx(bleu, abs=1e-9)
    assert rouge_l_of_each(hypotheses, references, split_at_spaces) == pytest.approx(rouge, abs=1e-9)
    assert cider_d_of_each(hypotheses, references, split_at_spaces) == pytest.approx(cider, abs=1e-9)


@pytest.mark.parametrize("references", [[], [["a"], ["b"]], [[]]])
def test_references_that_do_not_fit_are_refused(references):
    """Another number of references than hypotheses, or none for one of them, is an error that says so."""
    with pytest.raises(MultimodalError, match="reference"):
        cider_d(["a"], references)


@needs_realdata
def test_all_scores_equal_the_reference_implementation_on_real_captions():
    """Within 1e-6 of pycocoevalcap, for the corpus and for each of its 464 items."""
    stored = json.loads((REALDATA / "aac_example_1.json").read_text())
    hypotheses = [item["cand"] for item in stored["items"]]
    references = [item["refs"] for item in stored["items"]]
    assert _all_scores(hypotheses, references) == pytest.approx(stored["expected_corpus"], abs=1e-6)
    expected = [item["cider_d"] for item in stored["items"]]
    assert cider_d_of_each(hypotheses, references, given_words) == pytest.approx(expected, abs=1e-6)
    for item in stored["items"]:
        one = _all_scores([item["cand"]], [item["refs"]])
        assert one["rouge_l"] == pytest.approx(item["rouge_l"], abs=1e-6)
        assert one["bleu_4"] == pytest.approx(item["bleu_4"], abs=1e-6)


@needs_realdata
def test_all_scores_equal_those_asserted_by_upstream_test_suites():
    """Within 1e-6 of pycocoevalcap on the small cases of nlg-eval and aac-metrics."""
    for case in json.loads((REALDATA / "caption_metric_asserted.json").read_text())["cases"]:
        scores = _all_scores(case["cands"], case["refs"])
        assert scores == pytest.approx(case["computed_here_with_pycocoevalcap"], abs=1e-6)


def random_captions(generator, pictures):
    """Captions of few words, so that n-grams match; some are empty."""
    words = [*"abcde", "1\u00a01/2"]

    def caption():
        return " ".join(generator.choice(words, generator.integers(0, 9)))

    references = [[caption() for _ in range(generator.integers(1, 6))] for _ in range(pictures)]
    return [caption() for _ in range(pictures)], references


def split_at_spaces(text):
    """Tokens that may hold no-break spaces, as those of the PTB tokeniser may."""
    return [word for word in text.split(" ") if word]


def reference_scores(hypotheses, references):
    """BLEU-1 to 4 of the corpus, ROUGE-L and CIDEr-D of each picture, by pycocoevalcap's Python."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    given = dict(enumerate(references))
    written = {number: [text] for number, text in enumerate(hypotheses)}
    bleu, _ = Bleu(4).compute_score(given, written, verbose=0)
    return bleu, Rouge().compute_score(given, written)[1], Cider().compute_score(given, written)[1]


def _all_scores(hypotheses, references, tokenise=given_words):
    scores = [
        *corpus_bleu(hypotheses, references, tokenise),
        rouge_l(hypotheses, references, tokenise),
        cider_d(hypotheses, references, tokenise),
    ]
    return {score.name: score.value for score in scores}
