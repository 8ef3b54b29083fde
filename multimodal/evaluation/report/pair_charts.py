"""Histograms of pair scores, drawn as those of the checks: pairs that stay within all, the threshold beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from multimodal.evaluation.report.check_charts import BOTTOM, TOP, WIDTH, Bar, CheckChart
from multimodal.pairs.table import index_of, read_pairs

BINS = 40


def pair_charts(folder: Path) -> Iterator[CheckChart]:
    """One drawing for each task and split that has scores.

    Args:
        folder: of a dataset's pair scores.

    Raises:
        DatasetError: it is gone.
    """
    table = read_pairs(folder, "task", "split", "score", "kept")
    for count in index_of(folder)["counts"]:
        own = table.filter((pc.field("task") == count["task"]) & (pc.field("split") == count["split"]))
        own = own.filter(pc.is_valid(own["score"]))
        if len(own):
            yield _chart(count, own["score"].to_numpy(), own["kept"].to_numpy())


def _chart(count: dict[str, object], scores: np.ndarray, kept: np.ndarray) -> CheckChart:
    edges = np.histogram_bin_edges(scores.astype(np.float64), BINS)
    rows, staying = np.histogram(scores, edges)[0], np.histogram(scores[kept], edges)[0]
    step, most = WIDTH / BINS, rows.max()
    bars = tuple(
        Bar(
            place * step + 0.5, step - 1, (BOTTOM - TOP) * rows[place] / most, (BOTTOM - TOP) * staying[place] / most,
            f"{edges[place]:.3f} to {edges[place + 1]:.3f}: {rows[place]:,} pairs, {staying[place]:,} stay",
        )
        for place in np.flatnonzero(rows)
    )  # fmt: skip
    threshold = count["threshold"]
    lines = () if threshold is None else ((float(str(threshold)) - edges[0]) / (edges[-1] - edges[0]) * WIDTH,)
    left_out = f"{len(scores) - int(kept.sum()):,} of {len(scores):,} pairs left out"
    said = f"mean {scores.mean():.3f}; " + (left_out if threshold is not None else "not filtered")
    title = f"{str(count['task']).replace('_', ' ')}, {count['split']}"
    return CheckChart(title, bars, f"{edges[0]:.3f}", f"{edges[-1]:.3f} cosine", said, lines)
