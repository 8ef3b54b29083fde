"""The pipeline on a schedule, from one process: no work pool, no worker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cronsim import CronSim, CronSimError

from multimodal.errors import ConfigError


def check_cron(cron: str) -> None:
    """Refuse what is no cron expression, before anything is started.

    Raises:
        ConfigError: it is none.
    """
    try:
        CronSim(cron, datetime.now(UTC))
    except CronSimError as error:
        raise ConfigError(
            f"'{cron}' is no cron expression ({error}); '0 2 * * *' is two o'clock every night"
        ) from error


def serve_pipeline(conf: Path, overrides: Sequence[str], cron: str) -> None:
    """Wait for the schedule and run the pipeline when it is due, each run in a process of its own, until stopped.

    Args:
        conf: the configuration.
        overrides: `key.sub=value`.
        cron: when to run, in the time zone of the machine's clock as Prefect sees it (UTC unless configured).
    """
    from flows.pipeline import pipeline

    parameters = {"config_path": str(conf), "overrides": list(overrides)}
    pipeline.serve(name=conf.stem, cron=cron, parameters=parameters, limit=1, print_starting_message=True)
