"""Stage 3: latents and texts -> a trained decoder."""

from __future__ import annotations

from functools import partial

from prefect import flow, task

from flows.artifacts import Summary
from flows.encode import EncodedDataset
from flows.reporter import StageReporter
from flows.stage import IO_RETRIES, StagePlan, run_stage
from multimodal.config import PipelineConfig
from multimodal.dataset import DatasetInfo
from multimodal.pairs.filtered import left_out_of, open_dataset
from multimodal.training.finetuning.start import REGISTERED
from multimodal.training.followers import Assignment, lead
from multimodal.training.job import TrainJob, TrainResult, plan_train


def job_of(config: PipelineConfig) -> TrainJob:
    """The options that training depends on; a registered model to start from is fetched.

    Raises:
        RegistryError: that model is not there.
    """
    train, start = config.train, config.train.init_from
    if start and start.startswith(REGISTERED):
        from multimodal.registry import fetch_package

        train = train.model_copy(update={"init_from": str(fetch_package(config.workspace, start))})
    return TrainJob(config.tokenizer, config.decoder, train, config.sampler, config.seed)


def plan(config: PipelineConfig, dataset: DatasetInfo, encoded: EncodedDataset) -> StagePlan:
    """What train depends on: dataset, encoders, its options, the seed, the code."""
    encoders = {str(info.modality): info.encoder_fingerprint for info in encoded.latents}
    left_out = left_out_of(open_dataset(dataset.path, encoded.pairs))
    return StagePlan.of(config, "train", plan_train(job_of(config), dataset.fingerprint, encoders, left_out))


@task(name="train the decoder", **IO_RETRIES)
def train_decoder(
    config: PipelineConfig, dataset: DatasetInfo, encoded: EncodedDataset, reporter: StageReporter
) -> TrainResult:
    """Train, or go on where an interrupted run of the same job stopped."""
    assignment = Assignment(job_of(config), dataset.path, encoded.by_modality, config.workspace, encoded.pairs)
    return lead(assignment, log=reporter.log, progress=reporter.progress)


def describe(result: TrainResult) -> Summary:
    """Steps, minutes and the sampled validation score."""
    row = {
        "steps": result.steps,
        "minutes": round(result.minutes, 2),
        "val score": round(result.val_score, 4),
        "parameters": result.num_parameters,
        "checkpoint": result.checkpoint.name,
        "texts too long": sum(result.too_long.values()),
    }
    return Summary(
        line=f"val score {result.val_score:.3f} after {result.steps:,} steps, {result.minutes:.1f} min",
        table=[row],
        metrics={"val_score": result.val_score, "minutes": result.minutes, "steps": float(result.steps)},
        details={"checkpoint": result.checkpoint, "too long by task": result.too_long or "none"},
    )


@flow(name="train", validate_parameters=False)
def train_flow(config: PipelineConfig, dataset: DatasetInfo, encoded: EncodedDataset) -> TrainResult:
    """Train the decoder of a pipeline."""
    work = partial(train_decoder, config, dataset, encoded)
    return run_stage(plan(config, dataset, encoded), TrainResult, work, describe)
