"""Curves: round ticks, thin lines, and nothing drawn from nothing."""

import json

import pytest

from multimodal.evaluation.curves import draw, nice_ticks, thin, training_charts

from .conftest import history


@pytest.mark.parametrize("values", [(0, 1), (0.031, 0.034), (-3, 700), (5, 5), (0, 0)])
def test_ticks_are_few_and_span_the_values(values):
    """Two to eight ticks, evenly spaced, from below the least to above the greatest."""
    ticks = nice_ticks(values)
    assert 1 <= len(ticks) <= 8
    assert ticks[0] <= min(values) + 1e-9 and ticks[-1] >= max(values) - 1e-9


def test_long_curves_are_thinned_to_means():
    """Ten thousand points become at most 200, with the same mean."""
    points = [(float(step), float(step % 7)) for step in range(10_000)]
    assert len(thin(points)) <= 200
    assert sum(y for _, y in thin(points)) / len(thin(points)) == pytest.approx(3, abs=0.01)
    assert thin(points[:5]) == points[:5]


def test_losses_and_scores_are_two_charts(tmp_path):
    """What the training writes is drawn: the loss in one chart, sampled scores in the other."""
    charts = training_charts(history(tmp_path / "history.jsonl"))
    assert [[line.name for line in chart.lines] for chart in charts] == [["loss"], ["caption", "score"]]


def test_nothing_is_drawn_from_nothing(tmp_path):
    """No history, an empty one, a single point and numbers that are not finite give no chart."""
    path = tmp_path / "history.jsonl"
    assert training_charts(None) == training_charts(path) == []
    path.write_text(json.dumps({"step": 1, "loss": 1.0}) + "\n" + json.dumps({"step": 2, "loss": float("nan")}) + "\n")
    assert training_charts(path) == []
    assert draw("flat", {"loss": [(0, 1), (1, 1)]}) is not None
