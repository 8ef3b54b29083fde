"""BLEU, chrF, GLEU and SARI against values of the reference implementations."""

import numpy as np
import pytest
import sacrebleu

from multimodal.errors import MultimodalError
from multimodal.evaluation.text_scores import chrf, gleu, sacre_bleu, sari, sari_of_each

INPUTS = (
    "the cat sit on mat yesterday evening",
    "she go to school every days .",
    "a quick brown fox jump over lazy dog",
)
HYPOTHESES = (
    "the cat sat on the mat yesterday evening",
    "she goes to school every days .",
    "the quick brown fox jumps over lazy dog",
)
FIRST = (
    "the cat sat on the mat yesterday evening",
    "she goes to school every day .",
    "a quick brown fox jumps over a lazy dog",
)
SECOND = (
    "yesterday evening the cat sat on a mat",
    "every day she goes to school .",
    "the quick brown fox jumps over the lazy dog",
)
REFERENCES = tuple(zip(FIRST, SECOND, strict=True))
GLEU = {FIRST: 0.5954734578942589, SECOND: 0.37440697030296105}
"""Of gleu.py of github.com/cnap/gec-ranking (2016), run once."""

SARI, SARI_OF_EACH = 66.70435118218029, (78.31890331890331, 64.96512746512747, 65.77457264957265)
"""Of corpus_sari and sari_sentence of EASSE (commit 01daa0b), run once with the tokeniser off."""

SPECIES = "About 95 species are currently accepted ."
SPECIES_REFERENCES = (
    "About 95 species are currently known .",
    "About 95 species are now accepted .",
    "95 species are now accepted .",
)


def test_bleu_and_chrf_are_those_of_sacrebleu_with_its_signature():
    """Value and signature as sacrebleu gives them, with as many references as each text has."""
    streams = [list(FIRST), list(SECOND)]
    ours, theirs = sacre_bleu(HYPOTHESES, REFERENCES), sacrebleu.corpus_bleu(list(HYPOTHESES), streams)
    assert ours.value == pytest.approx(theirs.score, abs=1e-9)
    assert "nrefs:2" in ours.signature and "tok:13a" in ours.signature and "version:" in ours.signature
    score = chrf(HYPOTHESES, REFERENCES)
    assert score.value == pytest.approx(sacrebleu.corpus_chrf(list(HYPOTHESES), streams).score, abs=1e-9)
    assert "nc:6" in score.signature and "nw:0" in score.signature
    uneven = [REFERENCES[0], FIRST[1:2], FIRST[2:3]]
    assert chrf(FIRST, uneven).value == pytest.approx(100)
    assert sacre_bleu(FIRST, uneven).value == pytest.approx(100)


@pytest.mark.parametrize("references", [FIRST, SECOND])
def test_gleu_equals_the_reference_implementation(references):
    """Stored values of the scorer of the paper's authors."""
    assert gleu(HYPOTHESES, [[text] for text in references], INPUTS).value == pytest.approx(GLEU[references], abs=1e-9)


def test_gleu_of_several_references_lies_between_those_of_each():
    """The mean over draws of one reference for each text, the same at each call."""
    score = gleu(HYPOTHESES, REFERENCES, INPUTS)
    assert min(GLEU.values()) < score.value < max(GLEU.values())
    assert score == gleu(HYPOTHESES, REFERENCES, INPUTS)
    assert score.value != gleu(HYPOTHESES, REFERENCES, INPUTS, np.random.default_rng(1)).value
    assert gleu(HYPOTHESES, [[text, text] for text in FIRST], INPUTS).value == pytest.approx(GLEU[FIRST])


def test_gleu_punishes_what_should_have_been_changed():
    """A perfect correction scores 1; the unchanged input less than BLEU would give it."""
    assert gleu(FIRST, [[text] for text in FIRST], INPUTS).value == pytest.approx(1)
    copied = gleu(INPUTS, [[text] for text in FIRST], INPUTS).value
    assert copied < gleu(HYPOTHESES, [[text] for text in FIRST], INPUTS).value
    assert copied < gleu(INPUTS, [[text] for text in FIRST], FIRST).value


def test_texts_too_short_for_four_words_in_a_row_have_no_gleu():
    """The reference does not smooth: a corpus without any 4-gram scores 0."""
    assert gleu(["a b"], [["a b"]], ["a c"]).value == 0


def test_sari_equals_the_reference_implementation():
    """Stored values of EASSE, of the corpus and of each text."""
    assert sari(HYPOTHESES, REFERENCES, INPUTS).value == pytest.approx(SARI, abs=1e-9)
    assert sari_of_each(HYPOTHESES, REFERENCES, INPUTS) == pytest.approx(SARI_OF_EACH, abs=1e-9)


def test_sari_of_the_papers_example():
    """The example of Xu et al., with the value that evaluate's metric card gives."""
    value = sari_of_each(["About 95 you now get in ."], [SPECIES_REFERENCES], [SPECIES])
    assert value == pytest.approx([26.953601953601954], abs=1e-9)


def test_sari_sees_what_was_added_kept_and_deleted():
    """The three parts are given, and their mean is the score."""
    score = sari(FIRST, [[text] for text in FIRST], INPUTS)
    assert score.value == pytest.approx(100)
    score = sari(INPUTS, [[text] for text in FIRST], INPUTS)
    assert score.counts["add"] == score.counts["delete"] == 0
    assert score.value == pytest.approx(score.counts["keep"] / 3)


def test_lists_that_do_not_fit_are_refused():
    """One input too few is an error, as is a text without a reference."""
    with pytest.raises(MultimodalError, match="2 hypotheses against 2 references and 1 inputs"):
        sari(["a", "b"], [["a"], ["b"]], ["a"])
    with pytest.raises(MultimodalError, match="has no reference"):
        chrf(["a"], [[]])
