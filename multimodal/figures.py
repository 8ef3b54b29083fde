"""Figures drawn by matplotlib: as SVG that takes its text colour from the page, and as PNG."""

from __future__ import annotations

import io

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#010203"
"""Stands for the page's text colour until the SVG is written: nothing else is drawn in it."""

BLUE, AMBER = "#2f7ed8", "#c98a1b"
WIDTH, DPI = 7.0, 150


def new_figure(height: float, x_label: str) -> tuple[Figure, Axes]:
    """An empty figure of `height` inches with one pair of axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    style_axes(axes, x_label)
    return figure, axes


def style_axes(axes: Axes, x_label: str) -> None:
    """What all axes share: a thin grid, no box, everything in the ink of the page."""
    axes.set_xlabel(x_label, color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(visible=True, color=INK, alpha=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)


def add_legend(axes: Axes) -> None:
    """Name the labelled curves."""
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)


def as_svg(figure: Figure) -> str:
    """An `<svg>` element, text as text, its colour `currentColor`."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "multimodal"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def as_png(figure: Figure) -> bytes:
    """A PNG on white."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, facecolor="white")
    return stream.getvalue()
