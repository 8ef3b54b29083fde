"""Samples far from all others in a simple feature: flagged with the feature that it is, refused only on request.

The robust z-score of a value is its distance from the median in units of 1.4826 times the median absolute deviation,
which is one standard deviation of normal values (Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers").
Where more than half the values are equal that unit is 0, and the root mean square distance from the median takes its
place: what one file in a hundred has then lies ten units away. Each file counts once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from multimodal.ingest.measure_table import Column, MeasureTable
from multimodal.sample import Modality

FEATURES = {
    Modality.IMAGE: ("brightness", "contrast", "aspect_ratio", "pixels", "sharpness"),
    Modality.AUDIO: ("seconds", "loudness_dbfs", "silent_share", "spectral_centroid"),
    Modality.TEXT: ("characters", "words", "mean_word_length", "digit_share", "non_letter_share"),
}

Scores = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Flag:
    """Why a sample stands out.

    Args:
        sample_id: of the sample.
        feature: `<modality>.<feature>`.
        value: of the feature.
        z: its robust z-score.
    """

    sample_id: str
    feature: str
    value: float
    z: float


FLAG_SCHEMA = pa.schema(
    [("sample_id", pa.string()), ("feature", pa.string()), ("value", pa.float64()), ("z", pa.float64())]
)


@dataclass(frozen=True, slots=True)
class Outlier:
    """A feature of an entry of a table beyond the threshold."""

    feature: str
    value: float
    z: float

    def __str__(self) -> str:
        return f"{self.feature} {self.value:.4g} lies {abs(self.z):.1f} robust standard deviations from the median"


def robust_z(values: Column) -> Scores:
    """Robust z-scores [values] of finite numbers; 0 where all are equal."""
    if not len(values):
        return np.zeros(0)
    distances = values - np.median(values.astype(np.float64))
    scale = 1.4826 * np.median(np.abs(distances)) or np.sqrt(np.mean(distances**2))
    return distances / scale if scale else distances


def outliers(table: MeasureTable, modality: Modality, threshold: float) -> dict[int, list[Outlier]]:
    """Entry of the table -> the features of it that lie beyond the threshold, furthest first; kept entries only."""
    kept = table.kept > 0
    found: dict[int, list[Outlier]] = {}
    for feature in FEATURES[modality]:
        values = table.column(feature)
        known = np.flatnonzero(kept & np.isfinite(values))
        scores = robust_z(values[known])
        for place in np.flatnonzero(np.abs(scores) > threshold):
            entry = int(known[place])
            outlier = Outlier(f"{modality}.{feature}", float(values[entry]), float(scores[place]))
            found.setdefault(entry, []).append(outlier)
    return {entry: sorted(each, key=lambda one: -abs(one.z)) for entry, each in sorted(found.items())}


def read_flags(ledger: Path, sample_id: str | None = None) -> Iterator[Flag]:
    """The flags of a finished ledger, all or those of one sample; none where it was made without."""
    for path in sorted(ledger.glob("flags-*.parquet")):
        filters = None if sample_id is None else [("sample_id", "=", sample_id)]
        for row in pq.read_table(path, filters=filters).to_pylist():
            yield Flag(**row)
