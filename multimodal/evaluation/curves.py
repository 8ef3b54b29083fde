"""Curves of a training run, and quality against speed, as inline SVG that takes its colours from the page."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from multimodal.evaluation.frontier import FrontierPoint
from multimodal.evaluation.metrics import METRICS
from multimodal.sample import Task

_WIDTH, _HEIGHT = 430, 220
_FRONTIER_SIZE = (320, 210)
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 26
_MOST_POINTS = 200
_COLOURS = {str(task): index for index, task in enumerate(Task)} | {"conditioning_gap": 6, "score": 7, "loss": 7}
_NOT_SCORES = ("loss", "seconds", "nfe", "bound")

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: SVG path data, its name and the index of its colour in the page's palette."""

    name: str
    path: str
    colour: int
    last: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A marked point of a chart: where it is, its label (above or below), and what is said when it is pointed at."""

    x: float
    y: float
    label: str
    title: str
    below: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart ready to be drawn: lines, ticks as (position, label), dots, and the size of the drawing."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    dots: tuple[Dot, ...] = ()

    @property
    def left(self) -> int:
        """Where the drawing begins, right of the labels."""
        return _LEFT

    @property
    def right(self) -> int:
        """Where it ends."""
        return self.width - _RIGHT

    @property
    def bottom(self) -> int:
        """Where it ends, above the labels."""
        return self.height - _BOTTOM


@dataclass(frozen=True, slots=True)
class FrontierRow:
    """One point of a task's frontier, as a table shows it."""

    num_steps: int
    nfe: str
    ms: str
    value: str


@dataclass(frozen=True, slots=True)
class Frontier:
    """Quality against latency of one task."""

    task: Task
    title: str
    metric: str
    chart: Chart | None
    rows: tuple[FrontierRow, ...]


def training_charts(history: Path | None) -> list[Chart]:
    """The loss and the sampled scores of `history.jsonl`; none where it is absent or holds no curve.

    Rows are `{"step": int, name: number, ...}`; names with `loss` go to the first chart, `val/...` to the second.
    """
    if history is None or not history.is_file():
        return []
    series = _read(history)
    losses = {_short(name): points for name, points in series.items() if "loss" in name}
    scores = {_short(name): points for name, points in series.items() if _is_score(name)}
    charts = [draw("Loss", losses), draw("Score on the validation split, sampled", scores)]
    return [chart for chart in charts if chart is not None]


def frontier_charts(points: Sequence[FrontierPoint], titles: Mapping[Task, str]) -> list[Frontier]:
    """Quality against milliseconds per text, one drawing per task.

    Args:
        points: of any tasks.
        titles: of the tasks.
    """
    by_task: dict[Task, list[FrontierPoint]] = defaultdict(list)
    for point in sorted(points, key=lambda point: point.num_steps):
        by_task[point.task].append(point)
    return [_frontier(task, found, titles[task]) for task, found in by_task.items()]


def _frontier(task: Task, points: Sequence[FrontierPoint], title: str) -> Frontier:
    metric = METRICS[points[0].metric]
    rows = tuple(
        FrontierRow(point.num_steps, f"{point.nfe:.1f}", f"{point.ms_per_sample:.1f}", metric.shown(point.value))
        for point in points
    )
    names = [(f"{row.num_steps}", f"{row.num_steps} steps: {row.value}, {row.nfe} calls, {row.ms} ms") for row in rows]
    places = [(point.ms_per_sample, point.value) for point in points]
    chart = draw(title, {str(task): places}, _FRONTIER_SIZE, metric.shown, names, from_zero=True)
    return Frontier(task, title, metric.title, chart, rows)


def _short(name: str) -> str:
    """`train/loss/caption` as `caption`, `val/score` as `score`."""
    return name.rpartition("/")[2]


def _is_score(name: str) -> bool:
    return name.startswith("val/") and not any(word in name for word in _NOT_SCORES)


def _read(history: Path) -> dict[str, list[Point]]:
    series: dict[str, list[Point]] = defaultdict(list)
    for line in history.read_text().splitlines():
        row = json.loads(line) if line.strip() else {}
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                series[name].append((float(row.get("step", 0)), float(value)))
    return series


def draw(
    title: str,
    series: Mapping[str, Sequence[Point]],
    size: tuple[int, int] = (_WIDTH, _HEIGHT),
    shown: Callable[[float], str] = "{:g}".format,
    dots: Sequence[tuple[str, str]] = (),
    from_zero: bool = False,
) -> Chart | None:
    """A chart of named series of (x, y); None where no series has two points.

    Args:
        title: of the chart.
        series: by name.
        size: of the drawing, in units of its view box.
        shown: labels of the y axis.
        dots: label and title of each point of the only series, which is then not thinned.
        from_zero: let the x axis begin at 0.
    """
    thinned = {name: list(points) if dots else thin(points) for name, points in series.items() if len(points) > 1}
    if not thinned:
        return None
    width, height = size
    everything = [point for points in thinned.values() for point in points]
    xs, ys = [x for x, _ in everything] + [0.0] * from_zero, [y for _, y in everything]
    x_ticks, y_ticks = nice_ticks(xs), nice_ticks(ys)
    x_of = _Scale(min(xs), max(xs), _LEFT, width - _RIGHT - 14 * bool(dots))
    y_of = _Scale(min(y_ticks[0], *ys), max(y_ticks[-1], *ys), height - _BOTTOM, _TOP)
    places = {name: [(x_of(x), y_of(y)) for x, y in points] for name, points in thinned.items()}
    lines = tuple(
        Line(name, _path(places[name]), _COLOURS.get(name, index % 8), f"{series[name][-1][1]:.3g}")
        for index, name in enumerate(sorted(thinned))
    )
    marked = (pair for points in places.values() for pair in points)
    return Chart(
        title,
        lines,
        tuple((x_of(x), f"{x:g}") for x in x_ticks if _LEFT - 1 <= x_of(x) <= width - _RIGHT + 1),
        tuple((y_of(y), shown(y)) for y in y_ticks),
        width,
        height,
        tuple(Dot(x, y, *names, below=ys[-1] > ys[0]) for (x, y), names in zip(marked, dots, strict=False)),
    )


def thin(points: Sequence[Point]) -> list[Point]:
    """At most 200 points, each the mean of its run of neighbours."""
    run = math.ceil(len(points) / _MOST_POINTS)
    groups = [points[start : start + run] for start in range(0, len(points), run)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def nice_ticks(values: Iterable[float]) -> list[float]:
    """Three to seven round numbers that span the values."""
    known = list(values)
    low, high = min(known), max(known)
    width = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(width / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if width / (power * factor) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(index * step, 10) for index in range(first, last + 1)]


class _Scale:
    """Maps [low, high] to [start, end]."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.start = low, start
        self.factor = (end - start) / ((high - low) or 1.0)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.factor


def _path(points: Sequence[Point]) -> str:
    (x, y), *_ = points
    return f"M{x:.1f} {y:.1f}" + "".join(f"L{x:.1f} {y:.1f}" for _, (x, y) in pairwise(points))
