"""Runs that a dead process left open."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.entities import RunStatus

from multimodal.tracking.database import tracking_client
from multimodal.tracking.runs import HOST, PID, STAGE, STARTED

START_TOLERANCE_SECONDS = 5.0


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
