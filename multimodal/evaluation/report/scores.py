"""Scores as the report shows them: rows of the table, the headline of each task, and its slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multimodal.evaluation.metrics import METRICS, Metric
from multimodal.evaluation.score import TaskScore
from multimodal.evaluation.task_results import TaskResult
from multimodal.sample import Task

CONTROL_MEANINGS = {
    "constant": "one text for every sample, the best of many candidates from the train split",
    "nearest": "the text of the train sample nearest in latent space (infill: nearest in character n-grams)",
    "shuffled": "the same model given the conditions of another sample",
    "null": "the same model given no condition at all",
}
"""The controls in the order of the table; one that a score does not know is left out."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One control of the score table: as shown, and whether the model's score beats it (None: not compared)."""

    name: str
    text: str
    beaten: bool | None = None


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One row of the score table; `interval` and `copied` are "" where unknown.

    `verdict` is "" where no control has to be beaten: such a row only describes.
    """

    score: TaskScore
    metric: type[Metric]
    value: str
    interval: str
    controls: tuple[Cell, ...]
    copied: str
    blind: bool
    verdict: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A control on the ruler of a headline: its name, its value as shown and its place in per cent."""

    name: str
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Headline:
    """The main score of a task on a ruler on which right is always better.

    Args:
        at: place of the value, 0 to 100.
        band: places of the ends of its interval, or None.
        rival: the control that comes nearest to the model.
    """

    task: Task
    row: ScoreRow
    at: float
    band: tuple[float, float] | None
    dots: tuple[Dot, ...]
    rival: Cell | None
    samples: int


@dataclass(frozen=True, slots=True)
class SliceRow:
    """A part of a task's samples; `width` is its value on a bar, 0 to 100."""

    name: str
    value: str
    count: int
    width: float
    worst: bool


def score_row(score: TaskScore) -> ScoreRow:
    """A score as the table shows it, with its verdict in words."""
    metric, values = METRICS[score.metric], score.to_json()
    controls = tuple(
        Cell(name, shown(metric, values[name]), score.beats(name) if name in score.must_beat else None)
        for name in CONTROL_MEANINGS
        if values.get(name) is not None
    )
    return ScoreRow(
        score=score,
        metric=metric,
        value=shown(metric, score.value),
        interval=shown_interval(metric, values.get("interval")),
        controls=controls,
        copied="" if score.copied is None else shown(metric, score.copied),
        blind="shuffled" in score.must_beat and not score.beats("shuffled"),
        verdict=_verdict(score),
    )


def shown(metric: type[Metric], value: float) -> str:
    """A value as the report prints it, with a minus sign where it is negative."""
    return metric.shown(value).replace("-", "−")


def shown_interval(metric: type[Metric], interval: Sequence[float] | None) -> str:
    """An interval as "71.0 – 74.3 %", "" where there is none."""
    if interval is None:
        return ""
    low, high = (shown(metric, end) for end in interval)
    unit = "\u202f%"
    return f"{low.removesuffix(unit) if high.endswith(unit) else low} – {high}"


def _verdict(score: TaskScore) -> str:
    if not score.must_beat:
        return ""
    if "shuffled" in score.must_beat and not score.beats("shuffled"):
        return "does not look at its input"
    lost = [name for name in score.must_beat if not score.beats(name)]
    return f"does not beat {' and '.join(lost)}" if lost else "beats its controls"


def main_metric(result: TaskResult) -> str:
    """The metric that a task is judged by, the first where none is said."""
    return result.main_metric or result.scores[0].metric


def headline(result: TaskResult) -> Headline:
    """The main score of a task beside its controls, on a ruler."""
    name = main_metric(result)
    row = score_row(next(score for score in result.scores if score.metric == name))
    score, values = row.score, row.score.to_json()
    interval = values.get("interval")
    place = _ruler(row.metric, [score.value, *(interval or ()), *(values[cell.name] for cell in row.controls)])
    if not score.higher_is_better:
        scale, place = place, lambda value: 100 - scale(value)
    dots = tuple(Dot(cell.name, cell.text, place(values[cell.name])) for cell in row.controls)
    rival = max(row.controls, key=lambda cell: _goodness(score, values[cell.name]), default=None)
    band = None
    if interval is not None:
        low, high = sorted(place(end) for end in interval)
        band = (low, high)
    return Headline(result.task, row, place(score.value), band, dots, rival, len(result.items))


def _goodness(score: TaskScore, value: float) -> float:
    return value if score.higher_is_better else -value


def _ruler(metric: type[Metric], values: Sequence[float]) -> Any:
    """Maps a score to 0 to 100: shares over their whole range, others from 0 to a little above the greatest."""
    high = 1.0 if metric.percent else 1.08 * max(*values, 1e-9)

    def place(value: float) -> float:
        return 100 * min(1.0, max(0.0, value / high))

    return place


def slice_rows(result: TaskResult) -> tuple[SliceRow, ...]:
    """The slices of a task, worst first, each with a bar; the one that was found the worst is marked."""
    if not result.slices:
        return ()
    metric = METRICS[result.slices[0].metric]
    parts = sorted(result.slices, key=lambda part: part.value, reverse=not metric.higher_is_better)
    high = 1.0 if metric.percent else max(1e-9, *(part.value for part in parts), 0)
    if metric.percent and not metric.higher_is_better:
        high = max(1e-9, *(part.value for part in parts), 0)  # error rates are small: the longest bar is the worst
    return tuple(
        SliceRow(
            part.name,
            shown(metric, part.value),
            part.count,
            100 * min(1.0, max(0.0, part.value / high)),
            part == result.worst_slice,
        )
        for part in parts
    )
