"""One run, one stage's run below it, and how they are opened and closed."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException

from multimodal.tracking.database import tracking_client
from multimodal.tracking.naming import flatten

STAGE, STATE, REASON, FINGERPRINT = "stage", "stage.state", "stage.reason", "stage.fingerprint"
HOST, PID, STARTED = "process.host", "process.pid", "process.started"

CONFIG = "config.yaml"
ARTIFACTS = "mlartifacts"

FLUSH_SECONDS = 1.0
"""Metrics are written at most this often while a stage runs: a write costs 10 to 100 ms whatever its size."""

MOST_METRICS, MOST_PARAMS, MOST_CHARS = 1000, 100, 500


class TrackedRun:
    """One MLflow run, written in batches; may be used from several threads.

    Args:
        client: of the tracking store.
        experiment_id: the experiment.
        run_id: the run.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, run_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.run_id = run_id
        self._metrics: list[Metric] = []
        self._written = 0.0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Address of the run on the tracking server; "" where there is no server (SQLite)."""
        server = self.client.tracking_uri.rstrip("/")
        page = f"{server}/#/experiments/{self.experiment_id}/runs/{self.run_id}"
        return page if server.startswith("http") else ""

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Note metrics; they are written at most once a `FLUSH_SECONDS`, and when the run ends."""
        now = round(time.time() * 1000)
        with self._lock:
            self._metrics += [Metric(name, float(value), now, step) for name, value in metrics.items()]
            due = time.monotonic() - self._written >= FLUSH_SECONDS or len(self._metrics) >= MOST_METRICS
        if due:
            self.flush()

    def flush(self) -> None:
        """Write the metrics noted so far."""
        with self._lock:
            waiting, self._metrics = self._metrics, []
            self._written = time.monotonic()
        for start in range(0, len(waiting), MOST_METRICS):
            self.client.log_batch(self.run_id, metrics=waiting[start : start + MOST_METRICS])

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log nested parameters, flattened; values beyond 500 characters are cut (`config.yaml` has them whole)."""
        flat = [Param(name, _cut(value)) for name, value in flatten(params).items()]
        for start in range(0, len(flat), MOST_PARAMS):
            self.client.log_batch(self.run_id, params=flat[start : start + MOST_PARAMS])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        self.client.log_batch(self.run_id, tags=[RunTag(name, str(value)) for name, value in tags.items()])

    def describe(self, markdown: str) -> None:
        """The text that the dashboard shows above the run."""
        self.set_tags({"mlflow.note.content": markdown})

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or a folder's files, as artifacts of the run."""
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), folder)
        else:
            self.client.log_artifact(self.run_id, str(path), folder)

    def log_text(self, text: str, name: str) -> None:
        """Store a text as an artifact of that name."""
        self.client.log_text(self.run_id, text, name)

    def log_dataset(self, name: str, fingerprint: str, path: Path, counts: Mapping[str, int]) -> None:
        """Name the dataset that the run reads: its fingerprint and counts."""
        source = json.dumps({"uri": path.resolve().as_uri()})
        dataset = Dataset(name, fingerprint, "local", source, profile=json.dumps(dict(counts)))
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, [])])
        self.set_tags({"dataset.fingerprint": fingerprint})
        self.log_metrics({f"dataset/{key}": float(value) for key, value in counts.items()})

    def close(self, status: int) -> None:
        """Write what is noted and end the run as `RunStatus` FINISHED, FAILED or KILLED."""
        try:
            self.flush()
        finally:
            self.client.set_terminated(self.run_id, RunStatus.to_string(status))


class StageRun(TrackedRun):
    """The child run of one stage."""

    def explain(self, state: str, reason: str, fingerprint: str) -> None:
        """Say whether the stage `ran` or was `unchanged`, why, and which result it stands for."""
        self.set_tags({STATE: state, REASON: reason, FINGERPRINT: fingerprint})


RunT = TypeVar("RunT", bound=TrackedRun)


class PipelineRun(TrackedRun):
    """The parent run of a pipeline run."""

    @contextmanager
    def stage(self, name: str, tags: Mapping[str, str] | None = None) -> Iterator[StageRun]:
        """A child run for one stage, closed when the block ends, however it ends."""
        child = {"mlflow.parentRunId": self.run_id, STAGE: name, **(tags or {})}
        run_id = _create_run(self.client, self.experiment_id, name, child)
        with _closing(StageRun(self.client, self.experiment_id, run_id)) as run:
            yield run


@contextmanager
def open_run(
    workspace: Path,
    experiment: str,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    name: str = "pipeline",
    run_id: str = "",
) -> Iterator[PipelineRun]:
    """The parent run of a pipeline run, closed when the block ends, however it ends.

    Args:
        workspace: holds the tracking database, unless `MLFLOW_TRACKING_URI` names another.
        experiment: the configuration's name.
        params: the resolved configuration, nested, in JSON values; also stored whole as `config.yaml`.
        tags: e.g. `{FLOW_RUN_ID: ..., FLOW_RUN_URL: ...}`.
        name: shown in the dashboard.
        run_id: of a run to go on with; it keeps its parameters. A run that is not there any more is opened anew.
    """
    client = tracking_client(workspace)
    experiment_id = _experiment(client, experiment, workspace)
    goes_on = bool(run_id) and _reopen_run(client, run_id, tags or {})
    if not goes_on:
        run_id = _create_run(client, experiment_id, name, {STAGE: "pipeline", **(tags or {})})
    with _closing(PipelineRun(client, experiment_id, run_id)) as run:
        if params and not goes_on:
            run.log_params(params)
            run.log_text(yaml.safe_dump(dict(params), sort_keys=False, allow_unicode=True), CONFIG)
        yield run


@contextmanager
def _closing(run: RunT) -> Iterator[RunT]:
    started = time.monotonic()
    status = RunStatus.FINISHED
    try:
        yield run
    except BaseException as error:
        status = RunStatus.FAILED if isinstance(error, Exception) else RunStatus.KILLED  # interrupts are no Exception
        raise
    finally:
        run.log_metrics({"seconds": time.monotonic() - started})
        run.close(status)


def _experiment(client: MlflowClient, name: str, workspace: Path) -> str:
    found: Any = client.get_experiment_by_name(name)
    if found is None:
        server = client.tracking_uri.startswith("http")  # a server has its own place for artifacts
        location = None if server else (workspace.resolve() / ARTIFACTS).as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _create_run(client: MlflowClient, experiment_id: str, name: str, tags: Mapping[str, str]) -> str:
    run = client.create_run(experiment_id, run_name=name, tags={**_this_process(), **tags})
    return str(run.info.run_id)


def _reopen_run(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> bool:
    """Set a run that ended to RUNNING, as this process's own; False where it is not there any more."""
    try:
        if client.get_run(run_id).info.lifecycle_stage == "deleted":
            return False
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in {**_this_process(), **tags}.items()])
    client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
    return True


def _this_process() -> dict[str, str]:
    return {HOST: socket.gethostname(), PID: str(os.getpid()), STARTED: f"{psutil.Process().create_time():.2f}"}


def _cut(value: str) -> str:
    return value if len(value) <= MOST_CHARS else value[: MOST_CHARS - 3] + "..."
