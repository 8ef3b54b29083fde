"""Curves of a training run as inline SVG that takes its colours from the page."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 28
_MOST_POINTS = 200

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: SVG path data, its name and the index of its colour in the page's palette."""

    name: str
    path: str
    colour: int
    last: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart ready to be drawn: lines, ticks as (position, label), and the size of the drawing."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    bottom: int = _HEIGHT - _BOTTOM
    right: int = _WIDTH - _RIGHT


def training_charts(history: Path | None) -> list[Chart]:
    """The loss and the sampled scores of `history.jsonl`; none where it is absent or holds no curve.

    Rows are `{"step": int, name: number, ...}`; names with `loss` go to the first chart, `val/...` to the second.
    """
    if history is None or not history.is_file():
        return []
    series = _read(history)
    losses = {name: points for name, points in series.items() if "loss" in name}
    scores = {name.removeprefix("val/"): points for name, points in series.items() if _is_score(name)}
    charts = [draw("Loss", losses), draw("Score on the validation split, sampled", scores)]
    return [chart for chart in charts if chart is not None]


def _is_score(name: str) -> bool:
    return name.startswith("val/") and not any(word in name for word in ("loss", "seconds", "nfe"))


def _read(history: Path) -> dict[str, list[Point]]:
    series: dict[str, list[Point]] = defaultdict(list)
    for line in history.read_text().splitlines():
        row = json.loads(line) if line.strip() else {}
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                series[name].append((float(row.get("step", 0)), float(value)))
    return series


def draw(title: str, series: Mapping[str, Sequence[Point]]) -> Chart | None:
    """A chart of named series of (x, y); None where no series has two points."""
    thinned = {name: thin(points) for name, points in series.items() if len(points) > 1}
    if not thinned:
        return None
    everything = [point for points in thinned.values() for point in points]
    x_ticks, y_ticks = nice_ticks(x for x, _ in everything), nice_ticks(y for _, y in everything)
    x_of = _Scale(min(x for x, _ in everything), max(x for x, _ in everything), _LEFT, _WIDTH - _RIGHT)
    bottom, top = min(y_ticks[0], *(y for _, y in everything)), max(y_ticks[-1], *(y for _, y in everything))
    y_of = _Scale(bottom, top, _HEIGHT - _BOTTOM, _TOP)
    lines = tuple(
        Line(name, _path([(x_of(x), y_of(y)) for x, y in points]), index % 8, f"{series[name][-1][1]:.3g}")
        for index, (name, points) in enumerate(sorted(thinned.items()))
    )
    return Chart(
        title,
        lines,
        tuple((x_of(x), f"{x:g}") for x in x_ticks if x_of(x) >= _LEFT - 1),
        tuple((y_of(y), f"{y:g}") for y in y_ticks),
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
