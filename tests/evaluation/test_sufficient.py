"""Sums over samples give the scores themselves, on everything and on any part."""

import random

import numpy as np
import pytest

from multimodal.evaluation.items import Item, build_items
from multimodal.evaluation.metrics import METRICS, metrics_for
from multimodal.evaluation.sufficient import ratio, sufficient
from multimodal.sample import Split, Task

SCENE = {
    "objects": [
        {"shape": "circle", "colour": "red", "size": "small", "row": 0, "column": 0, "radius": 7, "dx": 0, "dy": 0,
         "angle": 0}
    ],
    "background": "sky", "seed": 1,
}  # fmt: skip


def scrambled(items):
    """Answers that are right in parts: some words of each reference are lost, doubled or swapped."""
    rng, texts = random.Random(0), []
    for item in items:
        words = [word for word in item.references[-1].split() for _ in range(rng.choice((0, 1, 1, 1, 2)))]
        texts.append(" ".join(words) if rng.random() < 0.7 else item.references[0])
    return texts


@pytest.fixture(scope="module")
def cases(corpus):
    """(metric, items, hypotheses) of all tasks, a described scene among the pictures."""
    found = []
    for task in Task:
        train = build_items(corpus.dataset.samples(split=Split.TRAIN, task=task))
        items = train[:10]
        if task is Task.CAPTION:
            attributes = f'{{"scene": {SCENE}}}'.replace("'", '"')
            caption = "a small red circle at the upper left under the sky"
            items = [*items, *[Item(str(n), task, Split.TEST, str(n), (caption,), attributes=attributes) for n in "ab"]]
        found += [(metric, items, scrambled(items)) for metric in metrics_for(task, items, train)]
    return found


def test_every_score_that_has_to_beat_controls_has_its_sums(cases):
    """A metric that a task is judged by has an interval."""
    without = {metric.name for metric, *case in cases if metric.must_beat and sufficient(metric, *case) is None}
    assert not without


def test_the_sums_of_all_samples_give_the_score(cases):
    """Of every metric that has sums, and of most metrics."""
    checked = set()
    for metric, items, hypotheses in cases:
        if (found := sufficient(metric, items, hypotheses)) is not None:
            checked.add(metric.name)
            assert found.rows.shape[0] == len(items)
            assert found.value == pytest.approx(metric.score(items, hypotheses).value, abs=1e-9), metric.name
    assert len(checked) >= 16 and checked <= METRICS.keys()


def test_a_resample_scores_as_its_samples_do(cases):
    """Samples drawn twice count twice; CIDEr-D keeps the document frequencies of the whole."""
    for metric, items, hypotheses in cases:
        if metric.name == "cider_d" or (found := sufficient(metric, items, hypotheses)) is None:
            continue
        drawn = np.random.default_rng(0).integers(len(items), size=len(items))
        counts = np.bincount(drawn, minlength=len(items)).astype(float)[None]
        alone = metric.score([items[index] for index in drawn], [hypotheses[index] for index in drawn]).value
        assert found.resampled(counts)[0] == pytest.approx(alone, abs=1e-9), metric.name
        assert found.value_of([int(index) for index in drawn]) == pytest.approx(alone, abs=1e-9)


def test_the_parts_of_the_samples_average_to_the_score(cases):
    """Exactly for means and ratios, up to terms of 1 / n for corpus BLEU."""
    for metric, items, hypotheses in cases:
        if (found := sufficient(metric, items, hypotheses)) is not None:
            exact = type(found).__name__ == "Ratio"
            largest = max(1.0, abs(found.value))
            assert found.of_each().mean() == pytest.approx(found.value, abs=1e-9 if exact else 0.1 * largest), metric


def test_the_part_of_a_sample_in_a_mean_is_its_own_value():
    """So that report and gate can read it."""
    assert ratio([1, 0, 1], [1, 1, 1]).of_each().tolist() == [1, 0, 1]


def test_parts_of_an_error_rate_weigh_by_reference_length():
    """Two errors in two words and none in six: 25 %, and the parts say where they come from."""
    found = ratio([2, 0], [2, 6])
    assert found.value == 0.25
    assert found.of_each().tolist() == [0.5, 0]


def test_diversity_has_no_sums():
    """A metric that is not made of samples is left without an interval, not given a wrong one."""

    class Distinct(METRICS["wer"]):
        name = "distinct_of_all"

    assert sufficient(Distinct(), [], []) is None
