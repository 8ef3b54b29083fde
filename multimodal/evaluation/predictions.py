"""Everything that was written in an evaluation, one row per text, as Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from multimodal.evaluation.task_results import TaskResult
from multimodal.fingerprint import write_file

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("task", pa.string()),
        ("split", pa.string()),
        ("content_id", pa.string()),
        ("references", pa.list_(pa.string())),
        ("input", pa.string()),
        ("style", pa.string()),
        ("hypothesis", pa.string()),
        ("tokens", pa.list_(pa.string())),
        ("confidences", pa.list_(pa.float32())),
        ("nfe", pa.int32()),
        ("constant", pa.string()),
        ("nearest", pa.string()),
        ("shuffled", pa.string()),
        ("speaker", pa.string()),
        ("source", pa.string()),
        ("attributes", pa.string()),
    ]
)
"""Columns of predictions.parquet; of infill, `references` and all answers are the words of the gap in `input`."""


def write_predictions(path: Path, results: Sequence[TaskResult]) -> None:
    """Write predictions.parquet, atomically."""
    rows = [row for result in results for row in _rows(result)]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer, compression="zstd")
    write_file(path, buffer.getvalue())


def _rows(result: TaskResult) -> Iterator[dict[str, Any]]:
    answers = result.answers
    for index, (item, generation) in enumerate(zip(result.items, result.generations, strict=True)):
        yield {
            "sample_id": item.sample_id,
            "task": str(item.task),
            "split": str(item.split),
            "content_id": item.content_id,
            "references": list(item.references),
            "input": item.input,
            "style": item.style,
            "hypothesis": answers.model[index],
            "tokens": list(generation.tokens) if generation else [],
            "confidences": list(generation.confidences) if generation else [],
            "nfe": generation.nfe if generation else 0,
            "constant": answers.constant[index],
            "nearest": answers.nearest[index],
            "shuffled": answers.shuffled[index],
            "speaker": item.speaker,
            "source": item.source,
            "attributes": item.attributes,
        }
