"""Pipeline runs in MLflow: one parent run per pipeline run, one child run per stage.

What is written under which name stays stable, so that dashboards do:

    experiment                  the configuration's `name`
    run name                    `pipeline` for the parent, the stage's name for a child
    parameters                  parent: the resolved configuration, flattened: `train.learning_rate`
    tags    stage               pipeline, ingest, encode, train, evaluate or register
            stage.state         ran or unchanged; `stage.reason` says why, `stage.fingerprint` names the result
            dataset.merkle_root what the dataset holds, in one digest; also of the ingest stage and of model versions
            dataset.fingerprint the dataset, also logged as the run's dataset with its counts
            prefect.flow_run_id, prefect.flow_run_url       the way back to Prefect
            process.host, process.pid, process.started      who writes this run; `close_orphans` reads them
    metrics train/<name>        loss, learning_rate, ... by optimiser step, as they happen
            val/score, val/<task>, val/conditioning_gap     sampled on the val split, by optimiser step
            val/bound                                       bound of the val texts' -log p, nats per token
            <split>/<task>/<metric>                         e.g. test/caption/cider_d, and beside it .../constant,
                                                            .../nearest and .../shuffled, the three controls
            dataset/<count>     rows, kept, quarantined, duplicate
            seconds             wall time of the stage
    artifacts                   parent: config.yaml; evaluate: report.html, report.json

A run ends FINISHED, FAILED (an exception) or KILLED (a signal, an interrupt, or a process that died: closed by the
next start). Where nothing else is configured, MLflow keeps its books in SQLite in the workspace.
"""

from __future__ import annotations

from multimodal.tracking.database import DATABASE, LOCK, prepare_tracking, tracking_client, tracking_uri, ui_command
from multimodal.tracking.locks import file_lock
from multimodal.tracking.naming import flatten, score_metrics
from multimodal.tracking.orphans import Orphan, close_orphans
from multimodal.tracking.runs import (
    ARTIFACTS,
    CONFIG,
    FINGERPRINT,
    HOST,
    PID,
    REASON,
    STAGE,
    STARTED,
    STATE,
    PipelineRun,
    StageRun,
    TrackedRun,
    open_run,
)

FLOW_RUN_ID, FLOW_RUN_URL = "prefect.flow_run_id", "prefect.flow_run_url"

__all__ = [
    "ARTIFACTS",
    "CONFIG",
    "DATABASE",
    "FINGERPRINT",
    "FLOW_RUN_ID",
    "FLOW_RUN_URL",
    "HOST",
    "LOCK",
    "PID",
    "REASON",
    "STAGE",
    "STARTED",
    "STATE",
    "Orphan",
    "PipelineRun",
    "StageRun",
    "TrackedRun",
    "close_orphans",
    "file_lock",
    "flatten",
    "open_run",
    "prepare_tracking",
    "score_metrics",
    "tracking_client",
    "tracking_uri",
    "ui_command",
]
