"""Many trainings of one pipeline, each with other options: `multimodal sweep CONF`.

ingest ──> (pretrain) ──> encode ──> trial, trial, trial, ...      shared by all trials up to encode
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from prefect import flow, runtime, task
from rich.table import Table

from flows.artifacts import Summary, publish
from flows.console import console, dashboard_commands, show_facts, show_intentions
from flows.encode import EncodedDataset
from flows.pipeline import Intention, dry_run, pipeline, read_config
from flows.reporter import StageReporter
from flows.stage import IO_RETRIES
from flows.train import job_of
from multimodal.config import PipelineConfig
from multimodal.dataset import DatasetInfo
from multimodal.errors import ConfigError, MultimodalError
from multimodal.fingerprint import explain_change, fingerprint
from multimodal.pairs.filtered import open_dataset
from multimodal.sweep.options import SweepOptions, read_sweep
from multimodal.sweep.results import SweepResult, describe, finished, shown, write_results
from multimodal.sweep.study import Sweep, SweepTrial, TrialRecord, open_sweep
from multimodal.sweep.trial import run_trial
from multimodal.tracking import CONFIG, FLOW_RUN_ID, FLOW_RUN_URL, STAGE, PipelineRun, open_run
from multimodal.training.job import plan_train

MOST_FAILURES = 3
"""So many failures in a row stop a sweep: what ails them would ail the rest too."""

SHOWN_TRIALS = 10


@flow(name="sweep", validate_parameters=False)
def sweep_flow(sweep_path: str, overrides: Sequence[str] = ()) -> SweepResult:
    """Run the stages that all trials share, then the trials that are still to be run.

    Args:
        sweep_path: a sweep file, e.g. conf/sweep.yaml.
        overrides: `key.sub=value`, each overruling one key of the sweep file.

    Raises:
        ConfigError: the file or its base is wrong.
        MultimodalError: another process works on this sweep, or the trials fail.
    """
    options = read_sweep(sweep_path, overrides)
    config = read_config(str(options.base), options.base_overrides())
    shared = pipeline(str(options.base), options.base_overrides(), "encode")
    assert shared.encoded is not None
    parts = parts_of(options, config, shared.dataset, shared.encoded)
    folder = config.workspace / "sweeps" / options.name / fingerprint(parts)
    reason = "goes on" if folder.is_dir() else explain_change(parts, folder.parent)
    tags = {STAGE: "sweep", FLOW_RUN_ID: str(runtime.flow_run.id or ""), FLOW_RUN_URL: str(runtime.flow_run.ui_url)}
    params = options.model_dump(mode="json", exclude={"trials"})
    with (
        open_sweep(folder, options) as sweep,
        open_run(config.workspace, config.name, params, tags, f"sweep {options.name}", sweep.run_id) as run,
    ):
        sweep.note_run(run.run_id)
        run.log_dataset(config.name, shared.dataset.fingerprint, shared.dataset.path, _counts(shared.dataset))
        result = _run_trials(sweep, run, shared.dataset, shared.encoded, parts, reason)
    publish("sweep", reason, sum(60 * record.minutes for record in result.trials), summary_of(result))
    return result


def parts_of(
    options: SweepOptions, config: PipelineConfig, dataset: DatasetInfo, encoded: EncodedDataset
) -> dict[str, Any]:
    """What makes trials comparable: the space, and all that training depends on beside it.

    The number of trials is not part of it, so that a sweep can be made longer.
    """
    encoders = {str(info.modality): info.encoder_fingerprint for info in encoded.latents}
    return {
        "space": {key: dimension.model_dump(mode="json") for key, dimension in sorted(options.space.items())},
        "seed of the search": options.seed,
        "pruning": [options.prune, options.startup_trials, options.warmup_steps],
        **plan_train(job_of(config), dataset.fingerprint, encoders),
    }


def _run_trials(
    sweep: Sweep,
    run: PipelineRun,
    dataset: DatasetInfo,
    encoded: EncodedDataset,
    parts: Mapping[str, Any],
    reason: str,
) -> SweepResult:
    """Run what remains; everything is written after each trial, so that an interruption loses none."""
    result = write_results(sweep, parts, reason)
    failures = 0
    while sweep.remaining:
        trial = sweep.ask()
        record = _run_in_own_run(sweep.options, trial, run, dataset, encoded)
        failures = failures + 1 if record.end == "failed" else 0
        result = write_results(sweep, parts, reason)
        if record.score is not None:
            run.log_metrics({"sweep/score": record.score}, step=record.number)
        if result is not None:
            run.log_metrics({"sweep/best": result.best.score or 0.0}, step=record.number)
        if failures == MOST_FAILURES:
            raise MultimodalError(f"{failures} trials in a row failed, the last one because: {record.reason}")
    result = finished(result, sweep.records)
    for file in result.files:
        run.log_file(file)
    run.set_tags({"sweep.best": str(result.best.number), "sweep.best.run_id": result.best.run_id})
    run.describe(result.line)
    return result


class _TrialFailed(Exception):
    """Closes the MLflow run of a failed trial as FAILED."""


def _run_in_own_run(
    options: SweepOptions, trial: SweepTrial, parent: PipelineRun, dataset: DatasetInfo, encoded: EncodedDataset
) -> TrialRecord:
    """One trial below the sweep's MLflow run, with its values as parameters and its curves as metrics."""
    name = f"trial-{trial.number}"
    words = ", ".join(f"{key} {shown(value)}" for key, value in trial.params.items())
    tags = {STAGE: "trial", "trial.number": str(trial.number)}
    if trial.continues is not None:
        tags["trial.continues"] = str(trial.continues)
    record: TrialRecord | None = None
    try:
        with parent.stage(name, tags) as run, StageReporter(name, words, run) as reporter:
            trial.note_run(run.run_id)
            run.log_params(trial.params)
            record = train_trial(options, trial, dataset, encoded, reporter)
            run.set_tags({"trial.end": record.end, "trial.reason": record.reason})
            if record.end == "failed":
                raise _TrialFailed
            run.log_metrics({"val_score": record.score or 0.0, "minutes": record.minutes})
            reporter.finish(f"{record.end}, val score {record.score or 0.0:.3f}: {words}")
    except _TrialFailed:
        assert record is not None
        console().print(f"{name} failed: {record.reason}", style="red", markup=False, soft_wrap=True)
    assert record is not None
    return record


@task(name="train one trial", **IO_RETRIES)
def train_trial(
    options: SweepOptions, trial: SweepTrial, dataset: DatasetInfo, encoded: EncodedDataset, reporter: StageReporter
) -> TrialRecord:
    """Train with the trial's values; options that do not fit together fail the trial, not the sweep."""
    try:
        config = read_config(str(options.base), [*options.base_overrides(), *trial.overrides])
    except ConfigError as error:
        return trial.fail(str(error))
    reporter.run.log_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True), CONFIG)
    return run_trial(
        trial,
        job_of(config),
        open_dataset(dataset.path, encoded.pairs),
        encoded.by_modality,
        config.workspace,
        log=reporter.log,
        progress=reporter.progress,
    )


def summary_of(result: SweepResult) -> Summary:
    """The table of the trials."""
    table = [
        {
            "trial": record.number,
            "score": "" if record.score is None else round(record.score, 4),
            "end": record.end,
            "values": ", ".join(f"{key} {shown(value)}" for key, value in record.params.items()),
            "minutes": round(record.minutes, 2),
            "reason": record.reason,
        }
        for record in result.trials
    ]
    return Summary(line=result.line, table=table, details={"page": result.page, "best": result.config})


def show_sweep(result: SweepResult, workspace: Path) -> None:
    """The best trials, what matters, and how to run the best configuration."""
    keys = list(result.best.params)
    table = Table(title=f"Sweep: {result.line}", title_justify="left")
    for column in ("trial", "score", "end", *keys):
        table.add_column(column, justify="right", overflow="fold")
    best_first = sorted(result.trials, key=lambda record: -1.0 if record.score is None else record.score, reverse=True)
    for record in best_first[:SHOWN_TRIALS]:
        score = "" if record.score is None else f"{record.score:.4f}"
        values = [shown(record.params[key]) if key in record.params else "" for key in keys]
        style = "bold green" if record.number == result.best.number else ""
        table.add_row(str(record.number), score, record.end, *values, style=style)
    console().print(table)
    importances = ", ".join(f"{key} {share:.2f}" for key, share in result.importances.items())
    facts = {"importance": importances or "not known: too few completed trials differ", "report": str(result.page)}
    show_facts(facts | {"run it": f"multimodal run {result.config}"} | dashboard_commands(workspace))


def show_sweep_intentions(options: SweepOptions) -> None:
    """What a sweep would do: the stages that trials share, and the space."""
    config = read_config(str(options.base), options.base_overrides())
    space = "; ".join(f"{key}: {describe(options, key)}" for key in options.space)
    trials = Intention("trials", True, f"up to {options.trials}; {space}")
    show_intentions([*dry_run(config, "encode"), trials])


def _counts(dataset: DatasetInfo) -> dict[str, int]:
    return {"rows": dataset.counts.rows, "kept": dataset.counts.kept}
