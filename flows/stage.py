"""What all stages share: a plan that knows whether there is anything to do, and the run that carries it out.

The result of a stage is remembered in `workspace/stages/<pipeline>/<stage>/<fingerprint>/index.json`: the parts of
the fingerprint, and the frozen record that the stage returned. Same fingerprint and files still there: unchanged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from prefect.cache_policies import NO_CACHE
from pydantic import TypeAdapter, ValidationError

from flows.artifacts import Summary, publish, publish_unchanged
from flows.console import say_unchanged
from flows.reporter import StageReporter
from multimodal.fingerprint import INDEX, explain_change, fingerprint, read_index, write_index
from multimodal.training.torchrun import num_processes

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun

    from multimodal.config import PipelineConfig
    from multimodal.tracking import PipelineRun, StageRun

RecordT = TypeVar("RecordT")

STAGES = ("ingest", "pretrain", "encode", "pairs", "train", "evaluate", "register")
"""In the order in which they run; `pretrain` only where an encoder names no weights, `pairs` with `encode.pairs`."""

PIPELINE_RUN: ContextVar[PipelineRun | None] = ContextVar("pipeline_run", default=None)
"""The MLflow run of the pipeline that the stages belong to."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What a stage depends on, and whether its result is there.

    Args:
        stage: one of `STAGES`, or one beside the pipeline.
        parts: of the fingerprint, by name.
        folder: `workspace/stages/<pipeline>/<stage>`.
        config: of the pipeline.
    """

    stage: str
    parts: Mapping[str, Any]
    folder: Path
    config: PipelineConfig

    @classmethod
    def of(cls, config: PipelineConfig, stage: str, parts: Mapping[str, Any]) -> StagePlan:
        """The plan of one stage of a pipeline."""
        return cls(stage, parts, config.workspace / "stages" / config.name / stage, config)

    @property
    def fingerprint(self) -> str:
        """Of the parts."""
        return fingerprint(self.parts)

    @property
    def unchanged_because(self) -> str:
        """The names of all that was compared."""
        return "unchanged: " + ", ".join(self.parts)

    def changed_because(self) -> str:
        """What differs from the newest result of this stage."""
        return explain_change(self.parts, self.folder)

    def result(self, kind: type[RecordT]) -> RecordT | None:
        """The record of the finished stage; None where there is none, or where its files are gone."""
        index = read_index(self.folder / self.fingerprint)
        if index is None:
            return None
        try:
            record = TypeAdapter(kind).validate_python(index["record"])
        except ValidationError:  # written by another version of this program
            return None
        return record if all(path.exists() for path in _paths(record)) else None

    def remember(self, kind: type[RecordT], record: RecordT) -> None:
        """Note the record of the finished stage."""
        values = json.loads(TypeAdapter(kind).dump_json(record))
        write_index(self.folder / self.fingerprint, {"parts": dict(self.parts), "record": values})

    def forget(self) -> None:
        """Drop the record: what it stood for is gone."""
        (self.folder / self.fingerprint / INDEX).unlink(missing_ok=True)


def _paths(record: object) -> Iterator[Path]:
    """All paths that a record names, those of the records within it too."""
    if isinstance(record, Path):
        yield record
    elif isinstance(record, tuple):
        for part in record:
            yield from _paths(part)
    elif is_dataclass(record):
        for name in record.__dataclass_fields__:
            yield from _paths(getattr(record, name))


def run_stage(
    plan: StagePlan,
    kind: type[RecordT],
    work: Callable[[StageReporter], RecordT],
    describe: Callable[[RecordT], Summary],
) -> RecordT:
    """Carry out a stage, or say why there is nothing to do.

    Args:
        plan: of the stage.
        kind: class of its record.
        work: does it; reports progress and metrics as it goes.
        describe: the summary that the dashboards show of a record.
    """
    finished = plan.result(kind)
    if finished is not None:
        summary = describe(finished)
        with _tracked(plan) as run:
            run.explain("unchanged", plan.unchanged_because, plan.fingerprint)
            run.set_tags(summary.tags)
        say_unchanged(plan.stage, plan.unchanged_because)
        publish_unchanged(plan.stage, plan.unchanged_because, summary)
        return finished
    reason = plan.changed_because()
    with _tracked(plan) as run, StageReporter(plan.stage, reason, run) as reporter:
        run.explain("ran", reason, plan.fingerprint)
        start = time.monotonic()
        record = work(reporter)
        plan.remember(kind, record)
        summary = describe(record)
        run.log_metrics(summary.metrics)
        run.set_tags(summary.tags)
        reporter.finish(summary.line)
    publish(plan.stage, reason, time.monotonic() - start, summary)
    return record


@contextmanager
def _tracked(plan: StagePlan) -> Iterator[StageRun]:
    """The MLflow run of a stage: a child of the pipeline's, which is opened here for a stage flow that runs alone."""
    parent = PIPELINE_RUN.get()
    if parent is not None:
        with parent.stage(plan.stage) as run:
            yield run
        return
    from multimodal.tracking import open_run

    with open_run(plan.config.workspace, plan.config.name) as alone, alone.stage(plan.stage) as run:
        yield run


PERMANENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


def is_io_error(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Retry what may pass (a busy disk, a lost connection), never wrong data, wrong options or a defect; and nothing in
    one of several processes that train together, since the others are in the midst of it: torchrun restarts them all.
    """
    error = state.result(raise_on_failure=False)
    return num_processes() == 1 and isinstance(error, OSError) and not isinstance(error, PERMANENT)


IO_RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [2, 10],
    "retry_condition_fn": is_io_error,
    # The stages do their own caching, by content; Prefect's would hash every parameter.
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
"""Options of every task that does a stage's work."""
