"""All measured values of one modality in columns: exact, and small enough to be kept for millions of rows."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from multimodal.ingest.languages import language_code
from multimodal.sample import Modality

Column = np.ndarray[Any, np.dtype[np.float32]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]

MEASURES: Mapping[Modality, tuple[str, ...]] = {
    Modality.IMAGE: ("bytes", "pixels", "aspect_ratio", "frames", "brightness", "contrast", "sharpness"),
    Modality.AUDIO: (
        "bytes", "channels", "sampling_rate", "seconds", "peak_dbfs", "loudness_dbfs", "silent_share",
        "clipped_share", "spectral_centroid", "bandwidth_share",
    ),
    Modality.TEXT: (
        "characters", "words", "mean_word_length", "digit_share", "non_letter_share", "script_share", "language",
        "language_confidence", "json_depth",
    ),
}  # fmt: skip
"""What is measured of each modality; `multimodal.ingest.measures` says what the names mean. Texts are target texts.
`language` is a `language_number` here and a code in the file."""


class MeasureTable:
    """One entry per measured file or text, a column per measure; NaN where a check refused it before.

    Entries are counted by the rows that reached them: five captions of a picture are five rows of one entry.
    """

    def __init__(self, modality: Modality) -> None:
        self._names = MEASURES[modality]
        self._values = array("f")  # entry by entry
        self._rows, self._kept = array("I"), array("I")

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, measures: Mapping[str, float]) -> int:
        """Add what was measured of one file or text; the number of its entry."""
        self._values.extend([measures.get(name, math.nan) for name in self._names])
        self._rows.append(0)
        self._kept.append(0)
        return len(self._rows) - 1

    def count(self, entry: int, is_kept: bool) -> None:
        """A row reached the entry."""
        self._rows[entry] += 1
        self._kept[entry] += is_kept

    def drop(self, entry: int) -> None:
        """A row that counted as kept was refused after all."""
        self._kept[entry] -= 1

    def column(self, name: str) -> Column:
        """The values of a measure [entries]."""
        values: Column = np.array(self._values[self._names.index(name) :: len(self._names)])
        return values

    def languages(self) -> list[str | None]:
        """The language of each entry [entries], None where it was not told."""
        numbers = self.column("language")
        return [None if math.isnan(number) else language_code(int(number)) for number in numbers.tolist()]

    @property
    def rows(self) -> Numbers:
        """Rows that reached each entry [entries]."""
        return np.array(self._rows, np.int64)

    @property
    def kept(self) -> Numbers:
        """Kept samples of each entry [entries]."""
        return np.array(self._kept, np.int64)

    def write(self, path: Path) -> None:
        """Store the table as Parquet: the measures, `rows` and `kept`."""
        columns: dict[str, Any] = {name: self.column(name) for name in self._names}
        if "language" in columns:
            columns["language"] = pa.array(self.languages(), pa.string())
        table = pa.table(columns | {"rows": self.rows, "kept": self.kept})
        with path.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())


def measures_path(ledger: Path, modality: Modality) -> Path:
    """Where a modality's table lies, beside the ledger."""
    return ledger / f"measures-{modality}.parquet"


def read_measures(ledger: Path, modality: Modality) -> dict[str, Column]:
    """The measures of what was kept, each file or text once [entries]; {} where nothing was measured.

    `language` holds codes, None where it was not told.
    """
    path = measures_path(ledger, modality)
    if not path.is_file():
        return {}
    table = pq.read_table(path)
    kept = table.column("kept").to_numpy() > 0
    return {name: table.column(name).to_numpy()[kept] for name in MEASURES[modality] if name in table.column_names}
