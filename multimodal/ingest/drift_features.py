"""What two datasets are compared by, read from one: columns are counted where they lie, no sample is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multimodal.dataset import Dataset
from multimodal.ingest.languages import ENOUGH_BYTES, identify, letter_bytes
from multimodal.ingest.measure_table import read_measures
from multimodal.ingest.text_checks import script
from multimodal.sample import Modality

Values = np.ndarray[Any, np.dtype[Any]]

MEASURED = {
    Modality.IMAGE: ("pixels", "aspect_ratio", "brightness", "sharpness"),
    Modality.AUDIO: ("seconds", "sampling_rate", "loudness_dbfs", "spectral_centroid"),
}
"""Of each picture or sound that was kept, once; texts are read from the samples."""

TEXTS_TOLD = 1000
"""Texts of a task whose language is told: those with the smallest sample ids, which are digests. They are drawn at
random, and the same ones of what two datasets share."""


@dataclass(frozen=True, slots=True)
class DatasetFeatures:
    """A dataset in numbers.

    Args:
        rows: input rows.
        categories: feature -> category -> rows or samples.
        vocabularies: feature -> lower-cased word -> times.
        values: feature -> measured values.
    """

    rows: int
    categories: Mapping[str, Mapping[str, int]]
    vocabularies: Mapping[str, Mapping[str, int]]
    values: Mapping[str, Values]


def read_features(path: Path) -> DatasetFeatures:
    """The features of a finished dataset.

    Raises:
        DatasetError: it is not there.
    """
    dataset = Dataset(path)
    info = dataset.info
    counts = info.counts
    # Reasons are shares of all rows: three bad rows that become five are no drift.
    fates = {"kept": counts.kept, "duplicate": counts.duplicate, **info.by_reason}
    table = dataset.table("task", "text", "style", "source", "sample_id")
    categories: dict[str, Mapping[str, int]] = {"fate": fates, "task": info.by_task}
    categories |= {"split": info.by_split, "source": _counts(table.column("source"))}
    vocabularies: dict[str, Mapping[str, int]] = {}
    values: dict[str, Values] = {}
    for task in sorted(info.by_task):
        of_task = table.filter(pc.equal(table.column("task"), task))
        texts = of_task.column("text")
        words = pc.utf8_split_whitespace(pc.utf8_lower(texts))
        categories |= {f"{task}.style": _counts(of_task.column("style")), f"{task}.script": _scripts(texts)}
        categories[f"{task}.language"] = _languages(of_task)
        vocabularies[f"{task}.vocabulary"] = _counts(pc.list_flatten(words))
        values[f"{task}.words"] = pc.list_value_length(words).to_numpy()
        values[f"{task}.characters"] = pc.utf8_length(texts).to_numpy()
    return DatasetFeatures(counts.rows, categories, vocabularies, values | dict(_measured(info.ledger)))


def _measured(ledger: Path) -> Iterator[tuple[str, Values]]:
    for modality, names in MEASURED.items():
        table = read_measures(ledger, modality)
        for name in names:
            values = table.get(name, np.zeros(0, np.float32))
            known = values[np.isfinite(values)]
            if len(known):
                yield f"{modality}.{name}", known


def _counts(column: Any) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()}


def _scripts(texts: pa.ChunkedArray) -> dict[str, int]:
    """Texts by the script that most of their letters are of; "" for those without letters."""
    is_ascii = pc.string_is_ascii(texts)
    has_letter = pc.match_substring_regex(texts, "[A-Za-z]")
    latin = pc.sum(pc.and_(is_ascii, has_letter)).as_py() or 0
    rest = texts.filter(pc.invert(pc.and_(is_ascii, has_letter))).to_pylist()
    counts = Counter({"LATIN": latin} if latin else {})
    counts.update(_script(text) for text in rest)
    return dict(counts)


def _script(text: str) -> str:
    letters = Counter(script(char) for char in text if char.isalpha())
    return letters.most_common(1)[0][0] if letters else ""


def _languages(table: pa.Table) -> dict[str, int]:
    """Some of the texts by the language that they are most likely in; "" for those too short to tell."""
    drawn = pc.select_k_unstable(table, k=min(TEXTS_TOLD, len(table)), sort_keys=[("sample_id", "ascending")])
    texts = table.column("text").take(drawn).to_pylist()
    return dict(Counter(identify(text)[0] if letter_bytes(text) >= ENOUGH_BYTES else "" for text in texts))
