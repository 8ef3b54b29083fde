"""Where runs are tracked: a server that the environment names, or a SQLite file in the workspace, made safely."""

from __future__ import annotations

import logging
import os
import shlex
import sqlite3
from pathlib import Path
from typing import Any

import mlflow
import mlflow.db
import mlflow.telemetry
from mlflow import MlflowClient

from multimodal.tracking.locks import file_lock

DATABASE, LOCK = "mlflow.db", "mlflow.db.lock"


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
