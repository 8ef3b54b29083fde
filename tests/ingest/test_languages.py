from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier
from pydantic import ValidationError

from multimodal.dataset import Dataset, Fate, read_ledger
from multimodal.errors import MediaError
from multimodal.evaluation.report.data_card import data_card
from multimodal.ingest import ingest
from multimodal.ingest.drift import compare_datasets
from multimodal.ingest.languages import LANGUAGES, identify, language_code, language_number, letter_bytes
from multimodal.ingest.measure_table import measures_path
from multimodal.ingest.options import CheckOptions, DriftOptions, IngestOptions
from multimodal.ingest.profile import LanguageCount, read_profile
from multimodal.ingest.reasons import Reason
from multimodal.ingest.text_checks import check_text
from multimodal.sample import Modality

SENTENCES = Path(__file__).with_name("languages.tsv")
SAMPLE = Path(__file__).parents[2] / "data/sample"


def sentences() -> list[tuple[str, str]]:
    """(language, text): the same twelve short sentences in twelve languages."""
    with SENTENCES.open(encoding="utf-8") as file:
        return [(row["language"], row["text"]) for row in csv.DictReader(file, delimiter="\t")]


def refused(texts, **checks) -> list[str]:
    found = []
    for text in texts:
        try:
            check_text(text, "", CheckOptions(**checks))
        except MediaError as error:
            assert error.reason == Reason.WRONG_LANGUAGE
            found.append(text)
    return found


def test_short_sentences_are_told_apart():
    """Of 144 sentences of three words and more in twelve languages at most five are taken for another's."""
    wrong = [(language, text, identify(text)[0]) for language, text in sentences() if identify(text)[0] != language]
    assert len(wrong) <= 5, wrong


@pytest.mark.parametrize("language", ["en", "de", "sv", "zh"])
def test_what_is_in_another_language_is_refused(language):
    """All that is long enough to tell, and nothing of the language that is asked for."""
    own = [text for one, text in sentences() if one == language]
    foreign = [text for one, text in sentences() if one != language]
    assert refused(own, languages=(language,)) == []
    assert len(refused(foreign, languages=(language,))) >= 0.98 * len(foreign)


def test_several_languages_may_be_asked_for():
    """Each of them passes."""
    wanted = ("de", "tr")
    kept = [text for one, text in sentences() if one in wanted]
    assert refused(kept, languages=wanted) == []
    assert refused(["un chien court sur la plage"], languages=wanted)


def test_the_sample_corpus_is_english():
    """Of its captions, transcripts and texts at most one in a thousand is refused."""
    texts = set()
    for name in ("scenes", "speech", "infill"):
        with (SAMPLE / f"{name}.tsv").open(encoding="utf-8") as file:
            texts |= {row["text"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)} - {""}
    some = sorted(texts)[::5]
    assert len(some) > 1500
    assert len(refused(some, languages=("en",))) <= len(some) / 1000


def test_what_is_too_short_is_not_judged():
    """By the bytes of its letters: three Han characters say as much as nine Latin letters; numbers say nothing."""
    assert (letter_bytes("ab, 12!"), letter_bytes("犬"), letter_bytes("ж")) == (2, 3, 2)
    assert refused(["ein Hund", "12 34 56 78 90 12", "犬犬犬", "!" * 40], languages=("en",)) == []
    assert refused(["ein Hund"], languages=("en",), min_language_bytes=7) == ["ein Hund"]


def test_details_name_the_language_and_the_probability_and_not_the_text():
    """What a person needs to set the threshold."""
    with pytest.raises(MediaError, match=r"most likely fr; 0\.\d% likely to be en or de, at least 5\.0%") as caught:
        check_text("un chien court sur la plage", "", CheckOptions(languages=("en", "de")))
    assert "chien" not in caught.value.detail


@pytest.mark.parametrize(
    ("code", "hint"), [("english", "mean 'en'"), ("EN", "mean 'en'"), ("de-AT", "mean 'de'"), ("??", "ISO 639")]
)
def test_an_unknown_language_is_refused_before_any_work(code, hint):
    """With the code that was meant."""
    with pytest.raises(ValidationError, match=f"cannot be told; .*{hint}"):
        CheckOptions(languages=("de", code))


def test_the_codes_are_those_of_the_model():
    """All of its labels but the one for no language at all; each is a number that single precision holds."""
    model = LanguageIdentifier.from_model_file(MODEL_FILE)
    assert set(LANGUAGES) == set(model.labels) - {"zxx"}
    assert [language_code(int(language_number(code))) for code in LANGUAGES] == list(LANGUAGES)
    assert max(map(language_number, model.labels)) < 2**24


@pytest.fixture
def options(tmp_path, manifest):
    """`options(held, **checks)`: options of the sentences of some languages, to fill gaps in."""

    def make(held, **checks):
        rows = [[text] for language, text in sentences() if language in held]
        source = {"name": "s", "path": manifest("m.csv", [["text"], *rows]), "task": "infill"}
        return IngestOptions(sources=[source], checks=checks)

    return make


def test_ingest_refuses_counts_and_draws_languages(options, tmp_path):
    """Fate, reason and measures of each row; counts in the profile and on the data card agree with the ledger."""
    info = ingest(options(("en", "fr"), languages=["en"]), seed=0, workspace=tmp_path / "w")
    assert (info.counts.kept, info.by_reason) == (12, {"wrong_language": 12})
    assert {row.detail.split(";")[0] for row in read_ledger(info.ledger) if row.fate is Fate.QUARANTINED} == {
        "most likely fr"
    }
    profile = read_profile(info.ledger)
    assert profile.languages == {"en": LanguageCount(12, 12), "fr": LanguageCount(12, 0)}
    (drawn,) = (one for one in profile.histograms if one.measure == "language_confidence")
    assert (drawn.low, sum(drawn.rows), sum(drawn.kept), drawn.refused) == (0.05, 24, 12, 12)
    told = pq.read_table(measures_path(info.ledger, Modality.TEXT)).column("language").to_pylist()
    assert sorted(told) == ["en"] * 12 + ["fr"] * 12
    card = data_card(Dataset(info.path))
    assert [(share.name, share.count, share.share) for share in card.languages] == [
        ("en, 12 kept", 12, 50.0), ("fr, 0 kept", 12, 50.0),
    ]  # fmt: skip


def test_languages_can_be_counted_without_refusing_any(options, tmp_path):
    """A threshold of 0; without languages nothing is told, and no model is loaded."""
    info = ingest(options(("en", "fr"), languages=["en"], min_language_confidence=0), seed=0, workspace=tmp_path / "w")
    assert info.counts.kept == 24
    assert {code: count.kept for code, count in read_profile(info.ledger).languages.items()} == {"en": 12, "fr": 12}
    identify.cache_clear()
    info = ingest(options(("en", "fr")), seed=0, workspace=tmp_path / "w")
    assert read_profile(info.ledger).languages == {}
    assert identify.cache_info().misses == 0


def test_drift_sees_another_language_in_the_same_script(options, tmp_path):
    """English texts become Dutch ones: the script stays Latin, the language does not."""
    before, now = (ingest(options(some), seed=0, workspace=tmp_path / "w").path for some in (("en",), ("nl",)))
    drifts = {drift.feature: drift for drift in compare_datasets(now, before, DriftOptions()).drifts}
    assert (drifts["infill.language"].before, drifts["infill.language"].now) == ("en 100.0%", "nl 100.0%")
    assert drifts["infill.language"].psi > 1 > drifts["infill.script"].psi == 0
    exceeded = compare_datasets(now, before, DriftOptions(psi=1)).exceeded
    assert any(one.startswith("infill.language: PSI") for one in exceeded)
