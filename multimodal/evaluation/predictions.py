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
        ("null", pa.string()),
        ("slices", pa.list_(pa.string())),
        ("metric", pa.string()),
        ("score", pa.float64()),
        ("uri", pa.string()),
    ]
)
"""Columns of predictions.parquet; of infill, `references` and all answers are the words of the gap in `input`.

`score` is the sample's part in the task's main metric, which `metric` names: the mean of `score` over the task's rows
is the task's score, so that two models are compared by pairs of rows of the same `sample_id` and `task`. `slices` are
the names of the sample's slices, as in report.json; columns are only ever added at the end.
"""


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
            "null": answers.null[index] if answers.null else None,
            "slices": list(result.slice_names[index]) if result.slice_names else [],
            "metric": result.main_metric,
            "score": result.sample_scores[index] if result.sample_scores else None,
            "uri": item.uri,
        }
