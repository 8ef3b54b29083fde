"""Verdicts of a score over its controls."""

import pytest

from multimodal.evaluation import TaskScore
from multimodal.evaluation.metrics import METRICS, TASK_METRICS
from multimodal.sample import Task


def made_score(value, constant=0.2, nearest=0.3, shuffled=0.1, higher=True, **more):
    return TaskScore(Task.CAPTION, "bleu_4", value, constant, nearest, shuffled, higher, {"n": 2}, "made", **more)


@pytest.mark.parametrize(("value", "beats"), [(0.4, True), (0.3, False), (0.25, False), (0.05, False)])
def test_all_three_controls_have_to_be_beaten(value, beats):
    """A tie is no win."""
    assert made_score(value).beats_controls is beats


def test_lower_is_better_where_the_metric_says_so():
    """Of an error rate the smaller one wins, and the gap has the sign of an improvement."""
    score = made_score(0.05, higher=False)
    assert score.beats_controls
    assert score.conditioning_gap == pytest.approx(0.05)
    assert not made_score(0.25, higher=False).beats("shuffled")


def test_a_control_that_says_nothing_about_a_metric_is_not_asked_for():
    """Style accuracy of retrieved texts is high by construction."""
    assert made_score(0.25, must_beat=("constant", "shuffled")).beats_controls


def test_scores_survive_json():
    """report.json gives back what was written."""
    score = made_score(0.4, copied=0.9, must_beat=("constant",))
    assert TaskScore.from_json(score.to_json()) == score


def test_every_task_has_metrics_and_every_metric_is_found_by_name():
    """The report and the dashboards look metrics up by name."""
    assert set(TASK_METRICS) == set(Task)
    assert all(METRICS[name].name == name for name in METRICS)
