"""What is known of a version, and how much better it is than another: numbers in, an interval out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

SCALE = {"cider_d": 10.0, "restyle_bleu": 100.0, "chrf": 100.0, "sari": 100.0, "sacrebleu": 100.0}
"""Upper end of the metrics that do not end at 1."""

FEWEST_PAIRS = 5
"""Test contents of a task that two versions must share before they are compared by pairs."""

REPORT_CONFIDENCE = 0.95
"""Of the intervals in report.json."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TaskValues:
    """A task's main metric for each sample, 0 to 1 and higher is better.

    Args:
        metric: name and signature: only values of the same can be compared.
        values: sample -> value. The sample's key names what was asked and what was right.
        groups: sample -> what it shares with samples that are not independent of it; the sample itself if absent.
    """

    metric: str
    values: Mapping[str, float]
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a version when the gate judges it.

    Args:
        val_score: sampled score on the val split.
        report: what report.json holds; None where there was no evaluation.
        tasks: per-sample values of each task; empty where there are none.
        version: its number where it is registered, for the texts.
    """

    val_score: float
    report: Mapping[str, Any] | None = None
    tasks: Mapping[str, TaskValues] = field(default_factory=dict)
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better one version is than another.

    Args:
        value: mean gain over tasks, 0 to 1.
        low, high: ends of its interval; nan where nothing says how sure the scores are.
        per_task: gain of each task.
        basis: what was compared, in words.
    """

    value: float
    low: float
    high: float
    per_task: Mapping[str, float]
    basis: str


def compare(challenger: Evidence, champion: Evidence, confidence: float = 0.95) -> Gain | None:
    """The gain of one version over another, by the best evidence that both have; None where they share none.

    In this order: pairs of the same test samples, the reported scores with their intervals, the reported scores alone.
    """
    tasks = [task for task in challenger.tasks if task in champion.tasks]
    pairs = {task: differences(challenger.tasks[task], champion.tasks[task]) for task in tasks}
    pairs = {task: found for task, found in pairs.items() if len(found) >= FEWEST_PAIRS}
    if pairs:
        return paired_gain(pairs, confidence)
    return _reported_gain(challenger.report or {}, champion.report or {}, confidence)


def differences(challenger: TaskValues, champion: TaskValues) -> Floats:
    """Gains on the samples that both wrote, averaged by group, shape [groups]; none if the metrics differ."""
    if challenger.metric != champion.metric:
        return np.empty(0)
    grouped: dict[str, list[float]] = {}
    for key, value in challenger.values.items():
        other = champion.values.get(key)
        if other is not None and math.isfinite(value) and math.isfinite(other):
            grouped.setdefault(challenger.groups.get(key, key), []).append(value - other)
    return np.array([sum(found) / len(found) for found in grouped.values()])


def paired_gain(pairs: Mapping[str, Floats], confidence: float) -> Gain:
    """Mean of the tasks' mean differences, with the interval of Student's t (Welch 1947 for its degrees of freedom).

    Args:
        pairs: task -> differences, at least two each.
        confidence: of the interval.
    """
    means = {task: float(found.mean()) for task, found in pairs.items()}
    parts = np.array([found.var(ddof=1) / len(found) for found in pairs.values()]) / len(pairs) ** 2
    freedom = np.array([len(found) - 1 for found in pairs.values()])
    value, variance = sum(means.values()) / len(means), float(parts.sum())
    margin = 0.0
    if variance > 0:
        from scipy.special import stdtrit  # loads in a tenth of scipy.stats' time, and reading a configuration waits

        margin = float(stdtrit(variance**2 / float((parts**2 / freedom).sum()), (1 + confidence) / 2)) * variance**0.5
    count = sum(len(found) for found in pairs.values())
    basis = f"pairs of {count} test contents of {len(pairs)} task{'s' if len(pairs) > 1 else ''}"
    return Gain(value, value - margin, value + margin, means, basis)


def main_metric(report: Mapping[str, Any], task: str) -> str:
    """The metric that a task is judged by: as the report names it, else that of its slices, else its first."""
    if named := report.get("tasks", {}).get(task, {}).get("main_metric"):
        return str(named)
    parts = (*report.get("slices", ()), *report.get("scores", ()))
    return next((str(part["metric"]) for part in parts if part["task"] == task), "")


def main_scores(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Each task's main score, as report.json holds it."""
    scores = {(score["task"], score["metric"]): score for score in report.get("scores", ())}
    tasks = dict.fromkeys(task for task, _ in scores)
    found = {task: scores.get((task, main_metric(report, task))) for task in tasks}
    return {task: score for task, score in found.items() if score is not None}


def scaled(metric: str, value: float, higher_is_better: bool = True) -> float:
    """A value of a metric on the scale from 0 to 1 where higher is better; error rates may fall below 0."""
    share = value / SCALE.get(metric, 1.0)
    return share if higher_is_better else 1.0 - share


def _reported_gain(report: Mapping[str, Any], other: Mapping[str, Any], confidence: float) -> Gain | None:
    ours, theirs = main_scores(report), main_scores(other)
    shared = [task for task in ours if task in theirs and _same_metric(ours[task], theirs[task])]
    if not shared:
        return None
    gains = {task: _scaled_score(ours[task]) - _scaled_score(theirs[task]) for task in shared}
    value = sum(gains.values()) / len(gains)
    widths = [_half_width(score) for task in shared for score in (ours[task], theirs[task])]
    margin = math.sqrt(sum(width**2 for width in widths)) / len(gains)  # nan where a score has no interval
    basis = "the reported scores and their intervals, not pairs"
    if confidence != REPORT_CONFIDENCE:
        from scipy.special import ndtri

        margin *= float(ndtri((1 + confidence) / 2) / ndtri((1 + REPORT_CONFIDENCE) / 2))
    if math.isnan(margin):
        basis = "the reported scores, which have no intervals"
    return Gain(value, value - margin, value + margin, gains, basis)


def _same_metric(score: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(score.get(name) == other.get(name) for name in ("metric", "signature"))


def _scaled_score(score: Mapping[str, Any]) -> float:
    return scaled(score["metric"], score["value"], score["higher_is_better"])


def _half_width(score: Mapping[str, Any]) -> float:
    low, high = score.get("interval") or (math.nan, math.nan)
    return abs(float(high) - float(low)) / 2 / SCALE.get(score["metric"], 1.0)
