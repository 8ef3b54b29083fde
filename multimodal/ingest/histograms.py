"""What each check with a threshold measured, over all rows that reached it, kept or refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from multimodal.ingest.measure_table import MeasureTable
from multimodal.ingest.options import CheckOptions
from multimodal.sample import Modality

Numbers = np.ndarray[Any, np.dtype[np.float64]]

BINS = 24
SPREAD = 50
"""Values whose largest is so many times their smallest are drawn in bins of equal ratio."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A measure and the options of `CheckOptions` that limit it."""

    modality: Modality
    measure: str
    low: str = ""
    high: str = ""


LIMITS = (
    Limit(Modality.IMAGE, "bytes", high="max_file_bytes"),
    Limit(Modality.IMAGE, "pixels", "min_image_pixels", "max_image_pixels"),
    Limit(Modality.IMAGE, "aspect_ratio", high="max_aspect_ratio"),
    Limit(Modality.IMAGE, "frames", high="max_frames"),
    Limit(Modality.IMAGE, "contrast", "min_image_contrast"),
    Limit(Modality.AUDIO, "bytes", high="max_file_bytes"),
    Limit(Modality.AUDIO, "channels", high="max_channels"),
    Limit(Modality.AUDIO, "sampling_rate", "min_sampling_rate", "max_sampling_rate"),
    Limit(Modality.AUDIO, "seconds", "min_clip_seconds", "max_clip_seconds"),
    Limit(Modality.AUDIO, "peak_dbfs", "silence_dbfs"),
    Limit(Modality.AUDIO, "silent_share", high="max_silent_share"),
    Limit(Modality.AUDIO, "clipped_share", high="max_clipped_share"),
    Limit(Modality.AUDIO, "bandwidth_share", "min_bandwidth_share"),
    Limit(Modality.TEXT, "characters", high="max_text_chars"),
    Limit(Modality.TEXT, "script_share", "min_script_share"),
    Limit(Modality.TEXT, "language_confidence", "min_language_confidence"),
    Limit(Modality.TEXT, "json_depth", high="max_json_depth"),
)


@dataclass(frozen=True, slots=True)
class Histogram:
    """The values that one check measured.

    Args:
        modality, measure: what was measured of what.
        low, high: the thresholds, None where there is none on that side.
        edges: of the bins, ascending, one more than there are bins.
        rows, kept: rows that reached the check, and kept samples among them, by bin.
        refused: rows beyond the thresholds.
    """

    modality: Modality
    measure: str
    low: float | None
    high: float | None
    edges: tuple[float, ...]
    rows: tuple[int, ...]
    kept: tuple[int, ...]
    refused: int


def histograms(tables: dict[Modality, MeasureTable], checks: CheckOptions) -> Iterator[Histogram]:
    """One histogram per limit that any row reached."""
    for limit in LIMITS:
        histogram = _histogram(limit, tables[limit.modality], checks)
        if histogram is not None:
            yield histogram


def _histogram(limit: Limit, table: MeasureTable, checks: CheckOptions) -> Histogram | None:
    values, rows, kept = table.column(limit.measure).astype(np.float64), table.rows, table.kept
    reached = np.isfinite(values) & (rows > 0)
    values, rows, kept = values[reached], rows[reached], kept[reached]
    if not len(values):
        return None
    low: float | None = getattr(checks, limit.low) if limit.low else None
    high: float | None = getattr(checks, limit.high) if limit.high else None
    # The table holds single precision: a value equal to its threshold must not fall beyond it by rounding.
    below = values < np.float32(-np.inf if low is None else low)
    above = values > np.float32(np.inf if high is None else high)
    edges = _edges(values)
    by_rows, by_kept = (np.histogram(values, edges, weights=weights)[0] for weights in (rows, kept))
    return Histogram(
        limit.modality, limit.measure, low, high, tuple(edges.tolist()),
        tuple(by_rows.astype(int).tolist()), tuple(by_kept.astype(int).tolist()), int(rows[below | above].sum()),
    )  # fmt: skip


def _edges(values: Numbers) -> Numbers:
    smallest, largest = float(values.min()), float(values.max())
    if smallest > 0 and largest > SPREAD * smallest:
        edges = np.geomspace(smallest, largest, BINS + 1)
        edges[0], edges[-1] = smallest, largest  # not by rounding a little inside
        return edges
    return np.linspace(smallest, largest if largest > smallest else smallest + 1, BINS + 1)
