"""Rounds of distillation in order: each is a training of its own, which starts from its teacher and is resumed,
scored and stored as any other; its checkpoint, averaged weights, teaches the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from multimodal.dataset import Dataset
from multimodal.errors import ConfigError
from multimodal.latents import LatentsInfo
from multimodal.sample import Modality
from multimodal.training.distillation.options import DistillOptions
from multimodal.training.finetuning.start import initial_weights
from multimodal.training.job import TrainJob, TrainResult, plan_train, train
from multimodal.training.loop import Log
from multimodal.training.options import SamplerOptions, TrainOptions

CHECKPOINTS_PER_ROUND = 4
"""At least so many, the last included."""


def plan_distill(
    job: TrainJob,
    options: DistillOptions,
    teacher: Path,
    dataset: str,
    encoders: Mapping[str, str],
    left_out: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a distillation depends on, by name: its options and all that its first round does, the teacher's weights
    among it.

    Args:
        job: that the teacher was trained by.
        options: of the distillation.
        teacher: saved decoder.
        dataset, encoders: fingerprints.
        left_out: as of `plan_train`.
    """
    first = plan_train(round_job(job, options, 1, teacher), dataset, encoders, left_out)
    return {"distill": options.model_dump(mode="json"), **first}


def distill(
    job: TrainJob,
    options: DistillOptions,
    teacher: Path,
    dataset: Dataset,
    latents: Mapping[Modality, LatentsInfo],
    workspace: Path,
    log: Log = lambda step, metrics: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainResult:
    """Distil a decoder, or go on where an interrupted distillation stopped.

    Args:
        job: that the teacher was trained by.
        options: rounds, and what each does.
        teacher: saved decoder: folder of a training, a checkpoint or a package, or a hub id.
        dataset, latents, workspace: as of `train`.
        log, progress: as of `train`, over the steps of all rounds.

    Returns:
        the last round's, with the steps and minutes of all.

    Raises:
        ConfigError, CheckpointError: as of `train`; or the options do not fit the teacher.
    """
    results: list[TrainResult] = []
    for number in range(1, options.rounds + 1):
        before = sum(result.steps for result in results)

        def log_of_round(step: int, metrics: Mapping[str, float], before: int = before) -> None:
            log(before + step, metrics)

        def progress_of_round(done: int, total: int, before: int = before, number: int = number) -> None:
            progress(before + done, before + total * (options.rounds + 1 - number))

        source = results[-1].checkpoint if results else teacher
        this_round = round_job(job, options, number, source)
        results.append(train(this_round, dataset, latents, workspace, log_of_round, progress_of_round))
    steps, minutes = sum(result.steps for result in results), sum(result.minutes for result in results)
    return replace(results[-1], steps=steps, minutes=minutes)


def round_job(job: TrainJob, options: DistillOptions, number: int, teacher: Path) -> TrainJob:
    """The training of one round, counted from 1: as the teacher's, but for its loss, its start and its budget.

    Raises:
        ConfigError: the teacher's process has no masks.
    """
    halving = options.of_round(number)
    changes: dict[str, Any] = {
        "init_from": str(teacher),
        "keep_tokenizer": True,
        "distill": halving.model_dump(),
        "steps": options.steps,
        "max_minutes": options.minutes,
        "learning_rate": options.learning_rate,
        "warmup_steps": options.steps // 10,
        "checkpoint_every": min(job.train.checkpoint_every, -(-options.steps // CHECKPOINTS_PER_ROUND)),
    }
    plain = ("init_backbone", "freeze", "lora", "rehearse", "complementary", "crops", "confidence_loss")
    changes |= {name: TrainOptions.model_fields[name].default for name in plain}
    try:
        chosen = TrainOptions.model_validate(job.train.model_dump() | changes)
    except ValidationError as error:
        raise ConfigError(f"this training cannot be distilled: {error.errors()[0]['msg']}") from error
    sampler = sampler_of_round(job.sampler, options, number)
    return replace(job, train=chosen, sampler=sampler, seed=job.seed + number)


def sampler_of_round(sampler: SamplerOptions, options: DistillOptions, number: int) -> SamplerOptions:
    """The sampler that a round's student is for: the configuration's, with so many steps as the student needs."""
    return sampler.overruled({"num_steps": options.of_round(number).num_steps})


def lineage(options: DistillOptions, teacher: Path, name: str) -> dict[str, str]:
    """What a distilled decoder says of its origin, for tags and the model card.

    Args:
        options: of the distillation.
        teacher: its folder.
        name: what the teacher is called.
    """
    weights = initial_weights(TrainOptions(init_from=str(teacher)))["init_from"]
    return {
        "distilled.from": name,
        "distilled.from.weights": weights if isinstance(weights, str) else weights["decoder.safetensors"],
        "distilled.rounds": str(options.rounds),
        "distilled.steps": " -> ".join(str(step) for step in step_counts(options)),
    }


def step_counts(options: DistillOptions) -> list[int]:
    """Sampler steps of the first teacher, and of each round's student."""
    first = options.of_round(1)
    return [
        first.num_steps * first.teacher_steps,
        *(options.of_round(n).num_steps for n in range(1, options.rounds + 1)),
    ]
