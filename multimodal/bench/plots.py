"""Pictures of a comparison: quality against calls and against latency, one panel a task."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from multimodal.bench.options import DEFAULT
from multimodal.bench.scores import PointScore
from multimodal.bench.verdicts import Comparison
from multimodal.evaluation.metrics import METRICS
from multimodal.figures import AMBER, BLUE, INK, style_axes
from multimodal.sample import Task

COLOURS = (BLUE, AMBER, "#2e9d5b", "#b4427a", "#6a5acd", "#7a7a7a", "#d05a2a", "#3aa6a6")
PANEL_WIDTH, PANEL_HEIGHT = 3.6, 3.0

Cost = Callable[[PointScore], float]


def quality_against_calls(comparison: Comparison) -> Figure:
    """Main metric of each task against mean calls of the decoder."""
    return _panels(comparison, lambda score: score.nfe, "calls of the decoder per text")


def quality_against_latency(comparison: Comparison) -> Figure:
    """Main metric of each task against milliseconds per text at the smallest batch."""
    smallest = min(comparison.options.timing.batch_sizes)
    latencies = (one for one in comparison.speed.latencies if one.batch_size == smallest)
    ms = {(one.contender, one.point, one.task): one.ms_per_text for one in latencies}
    threads = comparison.speed.threads
    label = f"milliseconds per text, batch {smallest}, {threads} thread{'s' * (threads > 1)}"
    return _panels(comparison, lambda score: ms[score.contender, score.point, score.task], label)


def _panels(comparison: Comparison, cost: Cost, x_label: str) -> Figure:
    main = [score for score in comparison.scores if score.is_main]
    tasks = list(dict.fromkeys(score.task for score in main))
    figure = Figure(figsize=(PANEL_WIDTH * len(tasks), PANEL_HEIGHT + 0.8), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _panel(axes, comparison, [score for score in main if score.task is task], cost)
        style_axes(axes, x_label)
        axes.set_title(_title(task, main), color=INK, fontsize=10)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, labelcolor=INK, fontsize=9)
    return figure


def _panel(axes: Axes, comparison: Comparison, scores: list[PointScore], cost: Cost) -> None:
    by_point = {(score.contender, score.point): score for score in scores}
    colours = iter(COLOURS * 4)
    for name, contender in comparison.options.competing.items():
        default, colour = by_point[name, DEFAULT], next(colours)
        axes.plot([cost(default)], [default.mean], "*", color=colour, markersize=13, label=f"{name}, default")
        for number, (curve_name, curve) in enumerate(contender.curves.items()):
            points = [by_point[name, point] for point in curve.points(curve_name)]
            points.sort(key=cost)
            axes.plot(
                [cost(point) for point in points],
                [point.mean for point in points],
                "o--" if curve.source else "o-",
                color=next(colours) if number else colour,
                markersize=4,
                label=f"{name}, {curve_name}" + (f" ({curve.source})" if curve.source else ""),
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())


def _title(task: Task, scores: list[PointScore]) -> str:
    score = next(score for score in scores if score.task is task)
    return f"{task}: {METRICS[score.metric].title}" + ("" if score.higher_is_better else ", less is better")
