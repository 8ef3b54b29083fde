"""Pictures of a sweep, drawn by matplotlib: as SVG that takes its text colour from the page, and as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from multimodal.sweep.study import TrialRecord

INK = "#010203"
"""Stands for the page's text colour until the SVG is written: nothing else is drawn in it."""

COLOURS = {"complete": "#2f7ed8", "pruned": "#c98a1b"}
WIDTH, DPI = 7.0, 150


def importance_figure(importances: Mapping[str, float]) -> Figure:
    """Bars: the share of the score's variance that each key explains, the largest on top."""
    figure, axes = _axes(1.1 + 0.38 * len(importances), "share of the score's variance explained")
    names = list(importances)[::-1]
    bars = axes.barh(names, [importances[name] for name in names], color=COLOURS["complete"], height=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=4, color=INK, fontsize=9)
    axes.set_xlim(0, 1.12 * max(importances.values()))
    axes.grid(visible=False, axis="y")
    return figure


def history_figure(records: Sequence[TrialRecord]) -> Figure:
    """Dots: each trial's score; a line: the best completed so far."""
    figure, axes = _axes(2.9, "trial")
    for end, colour in COLOURS.items():
        dots = [(r.number, r.score) for r in records if r.end == end and r.score is not None]
        axes.plot([x for x, _ in dots], [y for _, y in dots], "o", color=colour, markersize=5, label=end)
    complete = [record for record in records if record.end == "complete"]
    best = [max(float(r.score or 0.0) for r in complete[: count + 1]) for count in range(len(complete))]
    axes.step([r.number for r in complete], best, where="post", color=COLOURS["complete"], alpha=0.6, label="best")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    return figure


def curves_figure(records: Sequence[TrialRecord], best: int) -> Figure:
    """Each trial's sampled score by optimiser step; the best trial's line is thick."""
    figure, axes = _axes(2.9, "optimiser step")
    for record in records:
        width, opacity = (2.6, 1.0) if record.number == best else (1.0, 0.55)
        colour = COLOURS.get(record.end, INK)
        steps, scores = list(record.curve), list(record.curve.values())
        axes.plot(steps, scores, ".-", color=colour, linewidth=width, alpha=opacity, label=f"trial {record.number}")
    return figure


def as_svg(figure: Figure) -> str:
    """An `<svg>` element, text as text, its colour `currentColor`."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sweep"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def as_png(figure: Figure) -> bytes:
    """A PNG on white."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, facecolor="white")
    return stream.getvalue()


def _axes(height: float, x_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    style_axes(axes, x_label)
    return figure, axes


def style_axes(axes: Axes, x_label: str) -> None:
    """What all panels share: thin grid, no box, everything in the ink of the page."""
    axes.set_xlabel(x_label, color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(visible=True, color=INK, alpha=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
