"""Differences between points, and what is concluded from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from multimodal.bench.options import DEFAULT, BenchOptions
from multimodal.bench.scores import PointScore, score_points
from multimodal.bench.speed import Latency, Speed
from multimodal.bench.texts import Written
from multimodal.bench.verdicts import Comparison, judge
from multimodal.evaluation.items import Item
from multimodal.sample import Split, Task
from tests.bench.test_run import COMPARISON

SAMPLES = 40
QUALITY = {"default": 0.7, "adaptive num_steps=1": 0.4, "adaptive num_steps=4": 0.7}
CALLS = {"default": 3.0, "adaptive num_steps=1": 1.0, "adaptive num_steps=4": 3.0}
RIVAL = {"scheduled num_steps=1": (0.4, 1.0), "scheduled num_steps=2": (0.5, 2.0)}


def point(contender, name, value, nfe=1.0, higher=True):
    """A score whose samples are 0 or 1, as many ones as the value says."""
    each = (np.arange(SAMPLES) < round(value * SAMPLES)).astype(float)
    return PointScore(
        contender, name, Task.INFILL, "infill_accuracy", higher, True, {0: value}, {0: (value, value)}, value, None,
        nfe, SAMPLES, each,
    )  # fmt: skip


@pytest.fixture
def comparison():
    """The subject equals its twin, is three times as fast alone, and beats its rival at two calls."""
    options = BenchOptions.model_validate(COMPARISON | {"base": Path("base.yaml")})
    scores = [point("diffusion", name, value, CALLS[name]) for name, value in QUALITY.items()]
    scores += [point("diffusion", name, value, calls) for name, (value, calls) in RIVAL.items()]
    scores += [point(name, DEFAULT, 0.7, 20.0) for name in ("autoregressive", "gpt2")]
    ms = {("diffusion", 1): 10.0, ("autoregressive", 1): 30.0, ("gpt2", 1): 29.0,
          ("diffusion", 3): 5.0, ("autoregressive", 3): 4.0, ("gpt2", 3): 9.0}  # fmt: skip
    latencies = tuple(Latency(name, DEFAULT, Task.INFILL, size, value) for (name, size), value in ms.items())
    return Comparison(options, scores, Speed(1, latencies, {"diffusion": 1.0}, {}, ()))


def met(comparison):
    return {verdict.goal: verdict.met for verdict in judge(comparison)}


def test_goals_are_judged_by_what_was_measured(comparison):
    """Met where the figures say so, missed where they do not."""
    assert met(comparison) == {
        "diffusion at least as good as autoregressive, within the interval, on every task": True,
        "diffusion 2 times faster than autoregressive at batch 1": True,
        "diffusion 3 times faster than gpt2 at batch 1": False,
        "diffusion not slower than autoregressive at batch 3": False,
        "diffusion better than LLaDA (scheduled) at the same calls": False,  # with as few calls they are equal
        "more steps of diffusion never worse": True,
        "a text alone equals the text in a batch": True,
    }


def test_a_rival_is_met_at_no_more_than_its_calls(comparison):
    """A point of the subject that takes two calls is held against the rival's two, and beats them."""
    scores = [replace(s, nfe=2.0) if s.point == "adaptive num_steps=4" else s for s in comparison.scores]
    scores = [replace(s, nfe=5.0) if s.point == DEFAULT else s for s in scores]
    goal = "diffusion better than LLaDA (scheduled) at the same calls"
    assert met(replace(comparison, scores=scores))[goal] is True


def test_worse_than_the_twin_is_missed(comparison):
    """A fifth of the samples lost is beyond the interval; for an error rate the same figures are a gain."""
    lower = [replace(s, each=point("", "", 0.5).each) if s.contender == "diffusion" else s for s in comparison.scores]
    goal = "diffusion at least as good as autoregressive, within the interval, on every task"
    assert met(replace(comparison, scores=lower))[goal] is False
    errors = [replace(s, higher_is_better=False) for s in lower]
    assert met(replace(comparison, scores=errors))[goal] is True


def test_more_steps_that_harm_are_named(comparison):
    """The step from which quality falls is told."""
    bad = point("", "", 0.2).each
    scores = [replace(s, each=bad) if s.point == "adaptive num_steps=4" else s for s in comparison.scores]
    (verdict,) = [v for v in judge(replace(comparison, scores=scores)) if v.goal.startswith("more steps")]
    assert verdict.met is False and "adaptive num_steps=4 over adaptive num_steps=1" in verdict.measured


def test_what_is_missing_is_said(comparison):
    """Without the twin its goals are neither met nor missed."""
    speed = replace(comparison.speed, latencies=())
    found = met(replace(comparison, scores=[s for s in comparison.scores if s.contender == "diffusion"], speed=speed))
    assert list(found.values())[:4] == [None] * 4


def test_scores_of_seeds_come_together():
    """Mean and spread are over seeds, intervals of each seed, and a sample's part is its mean over seeds."""
    items = {Task.INFILL: [Item(f"s{i}", Task.INFILL, Split.TEST, "", ("word",), "a ___") for i in range(4)]}
    answers = {0: ("word",) * 4, 1: ("word", "word", "no", "no")}
    written = [Written("one", seed, DEFAULT, Task.INFILL, texts, (2,) * 4) for seed, texts in answers.items()]
    (score,) = score_points(written, items, 100)
    assert score.values == {0: 1.0, 1: 0.5} and score.mean == 0.75
    assert score.spread == pytest.approx(0.5 / 2**0.5)
    assert score.intervals[0] == (1.0, 1.0) and score.intervals[1][0] < 0.5 < score.intervals[1][1]
    assert score.each.tolist() == [1.0, 1.0, 0.5, 0.5]
