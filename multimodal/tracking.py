"""Pipeline runs in MLflow: one parent run per pipeline run, one child run per stage.

What is written under which name stays stable, so that dashboards do:

    experiment                  the configuration's `name`
    run name                    `pipeline` for the parent, the stage's name for a child
    parameters                  parent: the resolved configuration, flattened: `train.learning_rate`
    tags    stage               pipeline, ingest, encode, train, evaluate or register
            stage.state         ran or unchanged; `stage.reason` says why, `stage.fingerprint` names the result
            dataset.fingerprint the dataset, also logged as the run's dataset with its counts
            prefect.flow_run_id, prefect.flow_run_url       the way back to Prefect
            process.host, process.pid, process.started      who writes this run; `close_orphans` reads them
    metrics train/<name>        loss, learning_rate, ... by optimiser step, as they happen
            val/score, val/<task>, val/conditioning_gap     sampled on the val split, by optimiser step
            <split>/<task>/<metric>                         e.g. test/caption/cider_d, and beside it .../constant,
                                                            .../nearest and .../shuffled, the three controls
            dataset/<count>     rows, kept, quarantined, duplicate
            seconds             wall time of the stage
    artifacts                   parent: config.yaml; evaluate: report.html, report.json

A run ends FINISHED, FAILED (an exception) or KILLED (a signal, an interrupt, or a process that died: closed by the
next start). Where nothing else is configured, MLflow keeps its books in SQLite in the workspace.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shlex
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import mlflow
import mlflow.db
import mlflow.telemetry
import psutil
import yaml
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException

if TYPE_CHECKING:
    from multimodal.evaluation.score import TaskScore

STAGE, STATE, REASON, FINGERPRINT = "stage", "stage.state", "stage.reason", "stage.fingerprint"
HOST, PID, STARTED = "process.host", "process.pid", "process.started"
FLOW_RUN_ID, FLOW_RUN_URL = "prefect.flow_run_id", "prefect.flow_run_url"

CONFIG = "config.yaml"
DATABASE, ARTIFACTS, LOCK = "mlflow.db", "mlartifacts", "mlflow.db.lock"

FLUSH_SECONDS = 1.0
"""Metrics are written at most this often while a stage runs: a write costs 10 to 100 ms whatever its size."""

MOST_METRICS, MOST_PARAMS, MOST_CHARS = 1000, 100, 500
START_TOLERANCE_SECONDS = 5.0


def tracking_uri(workspace: Path) -> str:
    """Where runs are tracked: `MLFLOW_TRACKING_URI`, else SQLite in the workspace."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workspace.resolve() / DATABASE}"


def ui_command(workspace: Path, program: str = "mlflow") -> str:
    """The command that opens the dashboard of a workspace; `program` is how the shell calls MLflow."""
    uri = tracking_uri(workspace)
    if uri.startswith("http"):
        return f"open {uri}"
    server = f"{program} server --workers 1 --backend-store-uri {shlex.quote(uri)}"
    return f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false {server}"


def prepare_tracking(workspace: Path) -> str:
    """Make the tracking database, or bring it to this MLflow's schema, and return the tracking URI.

    Two processes that let MLflow create one SQLite file at once leave it half migrated for good, so exactly one does
    it, under a file lock, on a file that takes its name when it is complete. MLflow's telemetry is turned off unless
    `MLFLOW_DISABLE_TELEMETRY` says otherwise, and so is its printing of a link at the end of every run.
    """
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    if "MLFLOW_DISABLE_TELEMETRY" not in os.environ:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        # Reads the variable again, for this process has imported mlflow already.
        mlflow.telemetry.set_telemetry_client()  # type: ignore[no-untyped-call]
    uri = tracking_uri(workspace)
    path = _sqlite_path(uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(path.with_name(LOCK)) as lock:
            _prepare_database(path, lock)
    return uri


@contextmanager
def file_lock(path: Path) -> Iterator[Path]:
    """Hold an exclusive lock between processes; the file may carry a note (`read_text`, `write_text`) for the next."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield path


def _sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def _prepare_database(path: Path, lock: Path) -> None:
    """The lock file notes the MLflow version whose schema the database has: reading it costs nothing."""
    exists = path.is_file() and path.stat().st_size > 0
    if exists and lock.read_text() == mlflow.__version__:
        return
    if exists:
        _copy_database(path, path.with_name(f"{path.name}.before-{mlflow.__version__}"))
        _upgrade(path)
    else:
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.unlink(missing_ok=True)
        _upgrade(new)
        new.replace(path)
        MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)  # adds the default experiment, once
    lock.write_text(mlflow.__version__)


def _copy_database(source: Path, target: Path) -> None:
    with sqlite3.connect(source) as original, sqlite3.connect(target) as copy:
        original.backup(copy)


def _upgrade(path: Path) -> None:
    upgrade: Any = mlflow.db.upgrade.callback  # what `mlflow db upgrade` calls
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # alembic names each of its migrations
    try:
        upgrade(f"sqlite:///{path}")
    finally:
        logging.disable(before)


def tracking_client(workspace: Path) -> MlflowClient:
    """A client of the prepared tracking store."""
    return MlflowClient(tracking_uri=prepare_tracking(workspace))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings and lists as `a.b.0 -> text`; empty ones stay visible as `{}` or `[]`."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, list | tuple) and value:
            value = dict(enumerate(value))
        if isinstance(value, Mapping) and value:
            flat |= flatten({str(inner): item for inner, item in value.items()}, f"{name}.")
        else:
            flat[name] = str(value)
    return flat


def score_metrics(scores: Sequence[TaskScore], split: str) -> dict[str, float]:
    """Scores and their controls under the names that dashboards use: `test/caption/cider_d`, `.../shuffled`."""
    from multimodal.evaluation.score import CONTROLS  # its package loads torch, which tracking does without

    metrics: dict[str, float] = {}
    for score in scores:
        name = f"{split}/{score.task}/{score.metric}"
        metrics |= {name: score.value, **{f"{name}/{control}": getattr(score, control) for control in CONTROLS}}
    return metrics


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
) -> Iterator[PipelineRun]:
    """The parent run of a pipeline run, closed when the block ends, however it ends.

    Args:
        workspace: holds the tracking database, unless `MLFLOW_TRACKING_URI` names another.
        experiment: the configuration's name.
        params: the resolved configuration, nested, in JSON values; also stored whole as `config.yaml`.
        tags: e.g. `{FLOW_RUN_ID: ..., FLOW_RUN_URL: ...}`.
        name: shown in the dashboard.
    """
    client = tracking_client(workspace)
    experiment_id = _experiment(client, experiment, workspace)
    run_id = _create_run(client, experiment_id, name, {STAGE: "pipeline", **(tags or {})})
    with _closing(PipelineRun(client, experiment_id, run_id)) as run:
        if params:
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
    process = {HOST: socket.gethostname(), PID: str(os.getpid()), STARTED: f"{psutil.Process().create_time():.2f}"}
    run = client.create_run(experiment_id, run_name=name, tags={**process, **tags})
    return str(run.info.run_id)


def _cut(value: str) -> str:
    return value if len(value) <= MOST_CHARS else value[: MOST_CHARS - 3] + "..."


@dataclass(frozen=True, slots=True)
class Orphan:
    """A run whose process is gone, closed as KILLED."""

    run_id: str
    stage: str
    pid: int


def close_orphans(workspace: Path) -> tuple[Orphan, ...]:
    """Close, as KILLED, the runs of this machine's dead processes; runs of living ones and other machines stay."""
    client = tracking_client(workspace)
    running = f"attributes.status = 'RUNNING' and tags.`{HOST}` = '{socket.gethostname()}'"
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    orphans = [orphan for run in _all_runs(client, experiments, running) if (orphan := _orphan(run)) is not None]
    for orphan in orphans:
        client.set_terminated(orphan.run_id, RunStatus.to_string(RunStatus.KILLED))
    return tuple(orphans)


def _all_runs(client: MlflowClient, experiments: Sequence[str], filter_string: str) -> list[Any]:
    runs: list[Any] = []
    token: str | None = None
    while experiments and (token is None or token):
        page = client.search_runs(list(experiments), filter_string, page_token=token)
        runs += page
        token = page.token or ""
    return runs


def _orphan(run: Any) -> Orphan | None:
    tags = run.data.tags
    pid, started = int(tags.get(PID, 0)), float(tags.get(STARTED, 0))
    try:
        if abs(psutil.Process(pid).create_time() - started) < START_TOLERANCE_SECONDS:
            return None
    except psutil.NoSuchProcess:
        pass
    return Orphan(run.info.run_id, tags.get(STAGE, ""), pid)
