"""The evaluation and the facts that travel with a version: files of the run that registered it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from multimodal.errors import RegistryError
from multimodal.promotion import Evidence, TaskValues, scaled
from multimodal.registry.versions import ModelVersionInfo, quiet_tracking_at
from multimodal.tracking import tracking_client

FOLDER, REPORT, PREDICTIONS, FRONTIER, FACTS = (
    "evaluation", "report.json", "predictions.parquet", "frontier.json", "facts.json",
)  # fmt: skip
COLUMNS = ("sample_id", "task", "content_id", "references", "input", "style", "metric", "score")


def store_evaluation(
    client: MlflowClient, run_id: str, evaluation: Path | None, facts: Mapping[str, Any] | None
) -> None:
    """Store report.json, predictions.parquet, frontier.json and facts.json with the run that registers a version."""
    for name in (REPORT, PREDICTIONS, FRONTIER) if evaluation else ():
        assert evaluation is not None
        if (evaluation / name).is_file():
            client.log_artifact(run_id, str(evaluation / name), FOLDER)
    if facts:
        client.log_text(run_id, json.dumps(facts, indent=1, sort_keys=True, default=str), f"{FOLDER}/{FACTS}")


def evidence_of(workspace: Path, info: ModelVersionInfo) -> Evidence:
    """What the gate knows of a registered version; its val score alone where it was registered without evaluation."""
    with _fetched(workspace, info) as folder:
        return read_evidence(folder, info.score, info.version)


def facts_of(workspace: Path, info: ModelVersionInfo) -> dict[str, Any]:
    """The facts that a version's model card was made from; empty where none were stored."""
    with _fetched(workspace, info) as folder:
        path = folder / FACTS if folder else None
        found: dict[str, Any] = json.loads(path.read_text()) if path and path.is_file() else {}
        return found


def read_evidence(folder: Path | None, val_score: float, version: int | None = None) -> Evidence:
    """The evidence in a folder of the evaluate stage, or in a copy of it.

    Args:
        folder: holds report.json and predictions.parquet, or lacks them; None where there is no folder.
        val_score: on the val split.
        version: where it is registered.
    """
    if folder is None or not (folder / REPORT).is_file():
        return Evidence(val_score, version=version)
    report = json.loads((folder / REPORT).read_text())
    predictions = folder / PREDICTIONS
    tasks = _task_values(predictions, report) if predictions.is_file() else {}
    return Evidence(val_score, report, tasks, version)


def _task_values(path: Path, report: Mapping[str, Any]) -> dict[str, TaskValues]:
    """Per-sample values by task; none from predictions of an evaluation that did not store them."""
    if not set(COLUMNS) <= set(pq.read_schema(path).names):
        return {}
    scores = {(score["task"], score["metric"]): score for score in report["scores"]}
    values: dict[str, dict[str, float]] = {}
    groups: dict[str, dict[str, str]] = {}
    metrics: dict[str, str] = {}
    for row in pq.read_table(path, columns=list(COLUMNS)).to_pylist():
        score = scores.get((row["task"], row["metric"]))
        if score is None or row["score"] is None:
            continue
        task = row["task"]
        # The same question with the same right answers: a sample keeps its id when another caption is added.
        key = json.dumps([row["sample_id"], row["references"], row["input"], row["style"]])
        values.setdefault(task, {})[key] = scaled(score["metric"], row["score"], score["higher_is_better"])
        groups.setdefault(task, {})[key] = row["content_id"] or key
        metrics[task] = f"{score['metric']}|{score['signature']}"
    return {task: TaskValues(metrics[task], found, groups[task]) for task, found in values.items()}


@contextmanager
def _fetched(workspace: Path, info: ModelVersionInfo) -> Iterator[Path | None]:
    """The folder of a version's evaluation for the block, None where it has none.

    Raises:
        RegistryError: it cannot be fetched.
    """
    client = tracking_client(workspace)
    uri = client.tracking_uri
    with TemporaryDirectory() as downloads, quiet_tracking_at(uri):
        target = downloads if uri.startswith("http") else None  # local files are read where they are
        try:
            path = None
            if info.run_id and client.list_artifacts(info.run_id, FOLDER):
                path = download_artifacts(run_id=info.run_id, artifact_path=FOLDER, dst_path=target, tracking_uri=uri)
        except (MlflowException, OSError) as error:
            raise RegistryError(f"the evaluation of {info.uri} cannot be fetched from {uri}: {error}") from error
        yield Path(path) if path else None
