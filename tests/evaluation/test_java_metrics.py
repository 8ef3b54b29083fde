"""METEOR through its jar against the stored output of pycocoevalcap's class; neither stands in for what is absent."""

import json

import pytest

from multimodal.errors import MultimodalError
from multimodal.evaluation.captions import given_words
from multimodal.evaluation.java_metrics import (
    meteor,
    meteor_of_each,
    meteor_unavailable,
    spice,
    spice_unavailable,
)
from tests.evaluation.make_reference_captions import DATA, METRICS, meteor_cases

needs_meteor = pytest.mark.skipif(meteor_unavailable() is not None, reason=str(meteor_unavailable()))


@needs_meteor
@pytest.mark.skipif(not (DATA / "meteor.json").is_file(), reason="make_reference_captions.py has not been run")
def test_meteor_equals_the_reference_on_stored_cases():
    """For the corpus and for each picture, to the last digit that the program prints."""
    stored = json.loads((DATA / "meteor.json").read_text())
    for name, case in meteor_cases().items():
        score = meteor(*case, tokenise=given_words)
        assert score.value == pytest.approx(stored[name]["corpus"], abs=1e-12)
        assert meteor_of_each(*case, tokenise=given_words) == pytest.approx(stored[name]["each"], abs=1e-12)
        assert score.counts["samples"] == len(stored[name]["each"])
    assert score.signature == "meteor:1.5|coco|tok:given_words"


@needs_meteor
@pytest.mark.skipif(not METRICS.is_dir(), reason="the stored reference scores are not here")
def test_meteor_equals_what_upstream_test_suites_assert():
    """The values of nlg-eval, which has them to six digits."""
    cases = json.loads((METRICS / "caption_metric_asserted.json").read_text())["cases"]
    cases = [case for case in cases if "meteor" in case["expected"]]
    assert len(cases) == 2
    for case in cases:
        score = meteor(case["cands"], case["refs"], tokenise=given_words)
        assert score.value == pytest.approx(case["expected"]["meteor"], abs=1e-6)


@needs_meteor
def test_meteor_takes_texts_that_would_confuse_the_program():
    """Empty texts, its field separator and line breaks score as texts, and the next picture is unharmed."""
    hypotheses, references = ["", "a ||| dog\nruns", "a dog"], [["a cat"], ["a dog runs"], ["a dog"]]
    values = meteor_of_each(hypotheses, references, tokenise=given_words)
    assert values[0] == 0
    assert values[1] == pytest.approx(meteor_of_each(["a dog runs"], [["a dog runs"]])[0])
    assert values[2] == pytest.approx(meteor_of_each(["a dog"], [["a dog"]])[0])


def test_scores_are_not_computed_where_java_is_absent(monkeypatch):
    """No stand-in: None, and the reason is told."""
    monkeypatch.setenv("PATH", "")
    assert meteor(["a"], [["a"]]) is None and spice(["a"], [["a"]]) is None
    assert meteor_of_each(["a"], [["a"]]) is None
    for reason in (meteor_unavailable(), spice_unavailable()):
        assert "java" in reason or "pycocoevalcap" in reason


@pytest.mark.skipif(spice_unavailable() is None, reason="SPICE's models are here")
def test_spice_never_downloads_its_models():
    """pycocoevalcap would at the first use; here it is not computed, and the reason names the file."""
    assert spice(["a dog"], [["a dog"]]) is None
    assert meteor_unavailable() is not None or "stanford-corenlp-3.6.0-models.jar" in spice_unavailable()


def test_references_that_do_not_fit_are_refused():
    """Before any program is started."""
    with pytest.raises(MultimodalError, match="reference"):
        meteor(["a"], [[]])
