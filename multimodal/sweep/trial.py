"""One trial: a training that reports its sampled score as it goes, and is stopped where it falls behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import optuna

from multimodal.dataset import Dataset
from multimodal.errors import MultimodalError
from multimodal.fingerprint import INDEX, fingerprint
from multimodal.latents import LatentsInfo
from multimodal.sample import Modality
from multimodal.sweep.study import SweepTrial, TrialRecord
from multimodal.training.checkpoint import finished_steps, remove_other_steps
from multimodal.training.job import TrainJob, plan_train, train
from multimodal.training.loop import Log

SCORE = "val/score"
"""The sampled score that trials are compared by."""


def run_trial(
    trial: SweepTrial,
    job: TrainJob,
    dataset: Dataset,
    latents: Mapping[Modality, LatentsInfo],
    workspace: Path,
    log: Log = lambda step, metrics: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrialRecord:
    """Train with the trial's options, and end the trial with its score.

    A training of these very options that is there already, whole or in part, is used; what it logged is reported
    again. A pruned trial's checkpoints are removed, unless they were there before it.

    Args:
        trial: that was asked for.
        job: the options, with the trial's values in them.
        dataset, latents, workspace, progress: as of `multimodal.training.job.train`.
        log: receives (step, metrics) as they happen.
    """
    encoders = {str(modality): info.encoder_fingerprint for modality, info in latents.items()}
    run = workspace / "checkpoints" / fingerprint(plan_train(job, dataset.info.fingerprint, encoders))
    done = (run / INDEX).is_file()
    foreign = bool(finished_steps(run)) and trial.continues is None
    started = time.monotonic()

    def report(step: int, metrics: Mapping[str, float]) -> None:
        log(step, metrics)
        if SCORE in metrics:
            trial.report(step, metrics[SCORE], may_prune=not done and step < job.train.steps)

    try:
        for step, metrics in logged(run):
            report(step, metrics)
        result = train(job, dataset, latents, workspace, log=report, progress=progress)
    except optuna.TrialPruned as pruned:
        if not foreign:
            remove_other_steps(run, keep=set())
        return trial.prune(str(pruned), (time.monotonic() - started) / 60)
    except (MultimodalError, RuntimeError, ValueError, MemoryError) as error:  # e.g. options too large for the memory
        return trial.fail(str(error) or type(error).__name__)
    return trial.complete(result.val_score, result.minutes)


def logged(run: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """What a training has logged, as (step, metrics), up to where it would be gone on with."""
    history = run / "history.jsonl"
    if not history.is_file():
        return
    last = float("inf") if (run / INDEX).is_file() else max(finished_steps(run), default=-1)
    for line in history.read_text().splitlines():
        metrics: dict[str, float] = json.loads(line)
        step = int(metrics.pop("step"))
        if step <= last:
            yield step, metrics
