"""What the checks of ingest measured, as bars that the data card draws: kept rows within all, thresholds beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from multimodal.ingest.histograms import Histogram

WIDTH, HEIGHT = 300, 96
TOP, BOTTOM = 6, 78
UNITS = {
    "bytes": "bytes", "pixels": "pixels", "frames": "frames", "contrast": "levels", "channels": "channels",
    "sampling_rate": "Hz", "seconds": "s", "peak_dbfs": "dBFS", "characters": "characters", "json_depth": "levels",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin: where it is drawn, as high as its rows and as its kept rows, and what is said when it is pointed at."""

    x: float
    width: float
    rows: float
    kept: float
    title: str


@dataclass(frozen=True, slots=True)
class CheckChart:
    """One check.

    Args:
        title: modality and measure.
        bars: bins that hold rows.
        first, last: labels of both ends.
        threshold: the limits and what they refused, in words.
        lines: where the limits lie that are within the drawing.
        width, height, bottom: of the drawing.
    """

    title: str
    bars: tuple[Bar, ...]
    first: str
    last: str
    threshold: str
    lines: tuple[float, ...]
    width: int = WIDTH
    height: int = HEIGHT
    bottom: int = BOTTOM


def check_charts(histograms: Sequence[Histogram]) -> Iterator[CheckChart]:
    """A drawing of each check whose values differ; one that found all alike has nothing to show."""
    for histogram in histograms:
        if sum(count > 0 for count in histogram.rows) > 1:
            yield _chart(histogram)


def _chart(histogram: Histogram) -> CheckChart:
    edges, bins = histogram.edges, len(histogram.rows)
    step, most = WIDTH / bins, max(histogram.rows)
    unit = UNITS.get(histogram.measure, "")
    bars = tuple(
        Bar(
            place * step + 0.5, step - 1, (BOTTOM - TOP) * rows / most, (BOTTOM - TOP) * kept / most,
            f"{_number(edges[place])} to {_number(edges[place + 1])} {unit}: {rows:,} rows, {kept:,} kept",
        )
        for place, (rows, kept) in enumerate(zip(histogram.rows, histogram.kept, strict=True))
        if rows
    )  # fmt: skip
    limits = [limit for limit in (histogram.low, histogram.high) if limit is not None]
    return CheckChart(
        f"{histogram.modality} {histogram.measure.replace('_', ' ')}", bars, _number(edges[0]),
        f"{_number(edges[-1])} {unit}{_scale(edges)}".strip(), _threshold(histogram),
        tuple(_place(edges, limit) * step for limit in limits if edges[0] < limit < edges[-1]),
    )  # fmt: skip


def _scale(edges: Sequence[float]) -> str:
    """What to say of the axis: bins of equal ratio grow."""
    return " (log scale)" if edges[-1] - edges[-2] > 2 * (edges[1] - edges[0]) else ""


def _place(edges: Sequence[float], value: float) -> float:
    """Where a value lies between the edges, in bins."""
    place = sum(edge <= value for edge in edges) - 1
    return place + (value - edges[place]) / (edges[place + 1] - edges[place])


def _threshold(histogram: Histogram) -> str:
    low = "" if histogram.low is None else f"at least {_number(histogram.low)}"
    high = "" if histogram.high is None else f"at most {_number(histogram.high)}"
    return f"{', '.join(filter(None, (low, high)))}: {histogram.refused:,} rows refused"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
