"""Progress of a stage while it runs: in the terminal, in Prefect and in MLflow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from flows.console import STAGE_WIDTH, console

if TYPE_CHECKING:
    from multimodal.tracking import StageRun

BAR_WIDTH = 16
ARTIFACT_SECONDS = 2.0
"""Time between two updates of a progress artifact: each is a call to the Prefect server."""


class StageReporter:
    """Progress of one stage, in the terminal, in Prefect and in MLflow.

    Args:
        stage: its name.
        reason: why it runs.
        run: its MLflow run.
    """

    def __init__(self, stage: str, reason: str, run: StageRun) -> None:
        self.stage = stage
        self.run = run
        # A long description is folded; it never takes the room of the stage's name or of its bar.
        columns = (
            TextColumn(f"[bold]{stage:<{STAGE_WIDTH}}", table_column=Column(no_wrap=True, min_width=STAGE_WIDTH)),
            BarColumn(bar_width=BAR_WIDTH, table_column=Column(min_width=BAR_WIDTH)),
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=11)),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, overflow="fold")),
        )
        self._bar = Progress(*columns, console=console(), expand=True)
        self._task = self._bar.add_task(reason, total=None)
        self._artifact: UUID | None = None
        self._updated = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def progress(self, done: int, total: int) -> None:
        """So much is done; called as often as the work likes."""
        self._bar.update(self._task, completed=done, total=total)
        now = time.monotonic()
        if now - self._updated >= ARTIFACT_SECONDS or done == total:
            self._updated = now
            self._publish(100.0 * done / max(total, 1))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a step, to MLflow; the terminal shows the loss and the sampled score."""
        self.run.log_metrics(metrics, step)
        shown = [f"{name} {metrics[name]:.3f}" for name in ("train/loss", "val/score") if name in metrics]
        if shown:
            self._bar.update(self._task, description=", ".join(shown))

    def say(self, text: str) -> None:
        """Name what the stage is at."""
        self._bar.update(self._task, description=text)

    def note(self, text: str) -> None:
        """Leave a line above the bar."""
        self._bar.console.print(Text.assemble((f"{self.stage:<{STAGE_WIDTH}} ", "bold"), (text, "dim")))

    def finish(self, line: str) -> None:
        """Fill the bar and show the summary beside it."""
        task = self._bar.tasks[0]
        total = task.total or 1
        self._bar.update(self._task, completed=total, total=total, description=line)
        if self._artifact is not None:
            self._publish(100.0)

    def _publish(self, percent: float) -> None:
        if self._artifact is None:
            created = create_progress_artifact(percent, key=f"{self.stage}-progress", description=self.stage)
            assert isinstance(created, UUID)
            self._artifact = created
        else:
            update_progress_artifact(self._artifact, progress=percent)
