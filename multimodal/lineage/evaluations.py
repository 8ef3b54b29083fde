"""What models wrote for a sample: the rows of stored evaluations, with the versions that were registered from them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from multimodal.fingerprint import INDEX, read_index
from multimodal.sample import Sample, Task

PREDICTIONS, REPORT = "predictions.parquet", "report.json"


@dataclass(frozen=True, slots=True)
class Written:
    """One text that a model wrote for a sample.

    Args:
        evaluation: folder name of the evaluation.
        checkpoint: of the model, "" where the report does not say.
        versions: `name version N` of every registered version that this evaluation belongs to.
        dataset: that the evaluation was made on.
        split, task: of the sample there.
        hypothesis: what the model wrote.
        shuffled: what it wrote with another sample's condition.
        references: what counted as right; of infill the words of the gap.
        metric, score: the sample's part in the task's main metric, None in evaluations that did not store it.
        task_score: the metric over the whole split.
        nfe: calls of the denoiser.
        asked_as: sample that the text was written for, where several samples of one content are one question.
    """

    evaluation: str
    checkpoint: str
    versions: tuple[str, ...]
    dataset: str
    split: str
    task: str
    hypothesis: str
    shuffled: str
    references: tuple[str, ...]
    metric: str
    score: float | None
    task_score: float | None
    nfe: int
    asked_as: str


def written_for(workspace: Path, sample: Sample) -> Iterator[Written]:
    """What stored evaluations hold for a sample, the oldest first."""
    versions = _versions(workspace)
    folders = sorted(workspace.glob(f"reports/*/{INDEX}"), key=lambda index: (index.stat().st_mtime, str(index)))
    for folder in (index.parent for index in folders):
        if (folder / PREDICTIONS).is_file() and (folder / REPORT).is_file():
            report = json.loads((folder / REPORT).read_text())
            for row in _rows(folder / PREDICTIONS, sample):
                yield _written(folder.name, report, row, sample, versions)


def _rows(path: Path, sample: Sample) -> list[dict[str, Any]]:
    """The rows of a sample, or of the question that it is one of the right answers to."""
    same = [("content_id", "=", sample.content_id), ("task", "=", str(sample.task)), ("style", "=", sample.style)]
    rows = pq.read_table(path, filters=[[("sample_id", "=", sample.sample_id)], same]).to_pylist()
    own = [row for row in rows if row["sample_id"] == sample.sample_id]
    shared = [row for row in rows if sample.task is not Task.INFILL and sample.text in row["references"]]
    return own or shared


def _written(
    name: str,
    report: Mapping[str, Any],
    row: Mapping[str, Any],
    sample: Sample,
    versions: Mapping[str, list[str]],
) -> Written:
    metric = row.get("metric") or ""
    over_all = [
        score["value"] for score in report["scores"] if (score["task"], score["metric"]) == (row["task"], metric)
    ]
    return Written(
        evaluation=name,
        checkpoint=report.get("facts", {}).get("checkpoint", ""),
        versions=tuple(versions.get(name, ())),
        dataset=report["dataset"],
        split=row["split"],
        task=row["task"],
        hypothesis=row["hypothesis"],
        shuffled=row["shuffled"] or "",
        references=tuple(row["references"]),
        metric=metric,
        score=row.get("score"),
        task_score=over_all[0] if over_all else None,
        nfe=row["nfe"],
        asked_as=row["sample_id"] if row["sample_id"] != sample.sample_id else "",
    )


def _versions(workspace: Path) -> dict[str, list[str]]:
    """Evaluation -> model versions, from the records of the register stages."""
    found: dict[str, list[str]] = defaultdict(list)
    for index in sorted(workspace.glob(f"stages/*/register/*/{INDEX}")):
        values = read_index(index.parent) or {}
        record = values.get("record", {})
        if evaluation := values.get("parts", {}).get("evaluation"):
            found[evaluation].append(f"{record['name']} version {record['version']}")
    return found
