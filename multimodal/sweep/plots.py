"""Pictures of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from multimodal.figures import AMBER, BLUE, INK, add_legend, new_figure
from multimodal.sweep.study import TrialRecord

COLOURS = {"complete": BLUE, "pruned": AMBER}


def importance_figure(importances: Mapping[str, float]) -> Figure:
    """Bars: the share of the score's variance that each key explains, the largest on top."""
    figure, axes = new_figure(1.1 + 0.38 * len(importances), "share of the score's variance explained")
    names = list(importances)[::-1]
    bars = axes.barh(names, [importances[name] for name in names], color=COLOURS["complete"], height=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=4, color=INK, fontsize=9)
    axes.set_xlim(0, 1.12 * max(importances.values()))
    axes.grid(visible=False, axis="y")
    return figure


def history_figure(records: Sequence[TrialRecord]) -> Figure:
    """Dots: each trial's score; a line: the best completed so far."""
    figure, axes = new_figure(2.9, "trial")
    for end, colour in COLOURS.items():
        dots = [(r.number, r.score) for r in records if r.end == end and r.score is not None]
        axes.plot([x for x, _ in dots], [y for _, y in dots], "o", color=colour, markersize=5, label=end)
    complete = [record for record in records if record.end == "complete"]
    best = [max(float(r.score or 0.0) for r in complete[: count + 1]) for count in range(len(complete))]
    axes.step([r.number for r in complete], best, where="post", color=COLOURS["complete"], alpha=0.6, label="best")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(axes)
    return figure


def curves_figure(records: Sequence[TrialRecord], best: int) -> Figure:
    """Each trial's sampled score by optimiser step; the best trial's line is thick."""
    figure, axes = new_figure(2.9, "optimiser step")
    for record in records:
        width, opacity = (2.6, 1.0) if record.number == best else (1.0, 0.55)
        colour = COLOURS.get(record.end, INK)
        steps, scores = list(record.curve), list(record.curve.values())
        axes.plot(steps, scores, ".-", color=colour, linewidth=width, alpha=opacity, label=f"trial {record.number}")
    return figure
