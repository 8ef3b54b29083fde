from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from multimodal.ingest import ingest
from multimodal.ingest.drift import compare_datasets, population_stability, psi_of_counts, psi_of_values
from multimodal.ingest.options import DriftOptions, IngestOptions

RNG = np.random.default_rng(0)
STRICT = DriftOptions(psi=0, ks=0, rows=0, unseen_words=0)


@pytest.fixture
def make(tmp_path, manifest, picture, sound):
    """`make(name, texts, side=32, seconds=0.3)`: the folder of a dataset of captions, transcripts and texts."""

    def make(name, texts, side=32, seconds=0.3):
        tables = {"caption": [], "transcribe": [], "infill": [[text] for text in texts]}
        for number in range(12):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{number}.png").write_bytes(picture(number, "PNG", (side + number, side)))
            (tmp_path / name / f"{number}.wav").write_bytes(sound(number, seconds=seconds + 0.01 * number))
            tables["caption"].append([f"{name}/{number}.png", f"a picture of {number}"])
            tables["transcribe"].append([f"{name}/{number}.wav", f"number {number} is said"])
        columns = {"infill": ["text"]}
        sources = [
            {"name": task, "task": task, "path": manifest(f"{task}.csv", [columns.get(task, ["path", "text"]), *rows])}
            for task, rows in tables.items()
        ]
        options = IngestOptions(sources=sources, sandbox={"workers": 1})
        return ingest(options, seed=0, workspace=tmp_path / "w").path

    return make


def sentences(count, words=("red", "green", "blue"), length=4):
    return [" ".join([*(words[(n + k) % len(words)] for k in range(length)), str(n)]) for n in range(count)]


def test_psi_of_known_shares():
    """Two bins of 50 to 50 and 80 to 20 by hand; equal shares give 0, whatever the counts; an empty bin is finite."""
    by_hand = (0.8 - 0.5) * np.log(0.8 / 0.5) + (0.2 - 0.5) * np.log(0.2 / 0.5)
    assert population_stability([50, 50], [8, 2]) == pytest.approx(by_hand)
    assert population_stability([10, 20, 30], [1, 2, 3]) == pytest.approx(0)
    assert 1 < psi_of_counts({"a": 10}, {"b": 10}) < 20
    assert psi_of_counts({"a": 1, "b": 3}, {"b": 30, "a": 10}) == 0


def test_psi_of_values_sees_shifts_and_leaves_chance_alone():
    """Equal values give 0, another draw nearly 0, half a standard deviation more than that, up or down."""
    values, again = RNG.normal(size=5000), RNG.normal(size=5000)
    assert psi_of_values(values, values) == 0
    assert psi_of_values(values, again) < 0.02
    for shift in (-0.5, 0.5):
        assert psi_of_values(values, again + shift) == pytest.approx(shift**2, abs=0.05)  # the Gaussians' divergence


@pytest.mark.parametrize("now", [5000, 20_000])
def test_psi_of_a_constant_sees_it_change(now):
    """All pictures had one size: smaller and larger ones are both another bin."""
    assert psi_of_values(np.full(100, 9216.0, np.float32), np.full(100, now, np.float32)) > 1


def test_equal_datasets_do_not_drift(make):
    """Every feature of a dataset beside itself: PSI 0, KS 0, no change, no unseen word; the strictest gate is kept."""
    path = make("one", sentences(40))
    report = compare_datasets(path, path, STRICT)
    assert (report.dataset, report.predecessor, report.exceeded) == (path.name, path.name, ())
    features = {drift.feature for drift in report.drifts}
    assert {
        "rows", "fate", "source", "infill.words", "infill.script", "infill.vocabulary", "image.pixels",
        "audio.seconds",
    } <= features  # fmt: skip
    for drift in report.drifts:
        assert not any((drift.psi, drift.ks, drift.change, drift.unseen)), drift


def test_a_shift_is_found_where_it_is(make):
    """More rows, longer texts in other words and script, larger pictures, longer sounds: each in its own feature."""
    before = make("one", sentences(40))
    now = make("two", sentences(80, ("собака", "кот", "дом", "лес"), 9), side=64, seconds=0.9)
    drifts = {drift.feature: drift for drift in compare_datasets(now, before, DriftOptions()).drifts}
    assert drifts["rows"].change == pytest.approx((80 + 24) / (40 + 24) - 1)
    for name in ("infill.words", "infill.script", "infill.vocabulary", "image.pixels", "audio.seconds"):
        assert drifts[name].psi > 0.25, name
    for name in ("caption.words", "image.brightness", "caption.script"):
        assert drifts[name].psi < 0.25 or drifts[name].p_value > 0.01, name
    assert (drifts["infill.script"].before, drifts["infill.script"].now) == ("LATIN 100.0%", "CYRILLIC 100.0%")
    assert drifts["infill.vocabulary"].unseen > 0.9 > 0 == drifts["caption.vocabulary"].unseen
    seconds = drifts["audio.seconds"]
    steps = 0.01 * np.arange(12)
    expected = ks_2samp(0.3 + steps, 0.9 + steps, method="asymp")
    assert (seconds.ks, seconds.p_value) == (1.0, pytest.approx(expected.pvalue))
    assert seconds.now == "median 0.955"


def test_thresholds_name_feature_value_and_threshold(make):
    """Only what is beyond a threshold that is set, in a sentence that says which."""
    before, now = make("one", sentences(40)), make("two", sentences(80), seconds=0.9)
    assert compare_datasets(now, before, DriftOptions()).exceeded == ()
    (rows,) = compare_datasets(now, before, DriftOptions(rows=0.3)).exceeded
    assert rows == "rows: relative change 0.625, at most 0.3 (ingest.drift.rows); 64 before, 104 now"
    sentences_ = compare_datasets(now, before, DriftOptions(ks=0.9)).exceeded
    assert [one.partition(":")[0] for one in sentences_] == ["audio.seconds"]
    assert "KS statistic 1, at most 0.9 (ingest.drift.ks)" in sentences_[0]
    unseen = compare_datasets(now, before, DriftOptions(unseen_words=0.05)).exceeded
    assert [one.partition(":")[0] for one in unseen] == ["infill.vocabulary"]


def test_a_predecessor_that_measured_nothing_is_compared_by_what_it_has(make):
    """Datasets of before there were measures: texts and counts are compared, pictures and sounds are not."""
    before, now = make("one", sentences(40)), make("two", sentences(40), seconds=0.9)
    for path in (before.parents[1] / "ledger" / before.name).glob("measures-*.parquet"):
        path.unlink()
    features = {drift.feature for drift in compare_datasets(now, before, STRICT).drifts}
    assert "infill.words" in features
    assert not any(name.startswith(("image.", "audio.")) for name in features)
