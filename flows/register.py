"""Stage 5: checkpoint, encoders and report -> a registered model version, perhaps the new champion."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from prefect import flow, runtime, task

from flows.artifacts import Summary
from flows.encode import EncodedDataset
from flows.evaluate import metrics_of
from flows.reporter import StageReporter
from flows.stage import IO_RETRIES, StagePlan, run_stage
from multimodal.config import PipelineConfig
from multimodal.dataset import Dataset, DatasetInfo
from multimodal.encoders import build_encoder
from multimodal.encoders.options import EncodeOptions
from multimodal.evaluation import EvaluationReport
from multimodal.fingerprint import code_version
from multimodal.package import ModelPackage, write_package
from multimodal.predictor import Row
from multimodal.registry import ModelVersionInfo, find_version, register_model
from multimodal.sample import Content, Modality, Sample, Split, Task
from multimodal.tasks import make_gap
from multimodal.tracking import FLOW_RUN_ID, tracking_uri
from multimodal.training.job import TrainResult

PROBES_PER_TASK = 2


def plan(
    config: PipelineConfig,
    encoded: EncodedDataset,
    encoders: EncodeOptions,
    trained: TrainResult,
    report: EvaluationReport,
) -> StagePlan:
    """What register depends on: checkpoint, encoders, evaluation, its options, where the registry is, the code."""
    parts = {
        "checkpoint": f"{trained.fingerprint}/{trained.checkpoint.name}",
        "encoders": {str(info.modality): info.encoder_fingerprint for info in encoded.latents},
        "evaluation": report.fingerprint,
        "options": config.registry.model_dump(mode="json"),
        "registry": tracking_uri(config.workspace),
        "code": code_version("package.py", "predictor.py", "pyfunc_model.py", "registry.py", "serving.py"),
    }
    chosen = StagePlan.of(config, "register", parts)
    known = chosen.result(ModelVersionInfo)
    if known is not None and find_version(config.workspace, known.name, known.fingerprint) is None:
        chosen.forget()  # the registry was emptied since
    return chosen


@task(name="package and register the model", **IO_RETRIES)
def register_version(
    config: PipelineConfig,
    dataset: DatasetInfo,
    encoded: EncodedDataset,
    encoders: EncodeOptions,
    trained: TrainResult,
    report: EvaluationReport,
    reporter: StageReporter,
) -> ModelVersionInfo:
    """Pack decoder and encoders, log them as a model, and decide whether it is the champion."""
    reporter.progress(0, 2)
    package = make_package(config, dataset, encoded, encoders, trained)
    reporter.progress(1, 2)
    tags = {name: f"{value:.6g}" for name, value in metrics_of(config, report).items()}
    tags |= {"dataset.fingerprint": dataset.fingerprint, "train.fingerprint": trained.fingerprint}
    tags |= {"evaluation.fingerprint": report.fingerprint, FLOW_RUN_ID: str(runtime.flow_run.root_flow_run_id or "")}
    version = register_model(
        config.workspace,
        config.name,
        package,
        reporter.run.run_id,
        trained.val_score,
        promote=config.registry.promote,
        tags=tags,
        description=describe_model(config, dataset, trained, report),
    )
    reporter.progress(2, 2)
    return version


def make_package(
    config: PipelineConfig,
    dataset: DatasetInfo,
    encoded: EncodedDataset,
    encoders: EncodeOptions,
    trained: TrainResult,
) -> ModelPackage:
    """One folder with all that prediction needs, and a few test samples that it must answer alike wherever it is."""
    chosen = {info.modality: encoders.of(info.modality) for info in encoded.latents}
    built = {modality: build_encoder(options, modality) for modality, options in chosen.items() if options}
    probe = list(probe_rows(Dataset(dataset.path), config))
    folder = config.workspace / "packages"
    return write_package(folder, trained.checkpoint, built, encoders, config.sampler, probe)


def probe_rows(dataset: Dataset, config: PipelineConfig) -> Iterator[Row]:
    """The first samples of each task of the evaluated split, as rows of a prediction table."""
    for task_name in dataset.info.by_task:
        samples = dataset.samples(split=config.evaluate.split, task=Task(task_name))[:PROBES_PER_TASK]
        if config.train.tasks.get(Task(task_name), 0) <= 0 or not dataset.samples(Split.TRAIN, Task(task_name)):
            continue
        media = {content.content_id: content for content in _media(dataset, samples)}
        yield from (_probe_row(sample, media.get(sample.content_id)) for sample in samples)


def _media(dataset: Dataset, samples: list[Sample]) -> Iterator[Content]:
    if samples and samples[0].modality is not Modality.TEXT:
        yield from dataset.contents([sample.content_id for sample in samples], samples[0].modality)


def _probe_row(sample: Sample, content: Content | None) -> Row:
    if content is not None:
        return Row(str(sample.task), data=content.data)
    if sample.task is Task.INFILL:
        return Row(str(sample.task), text=make_gap(sample.text, sample.sample_id).text_with_gap)
    return Row(str(sample.task), text=sample.input, style=sample.style)


def describe_model(config: PipelineConfig, dataset: DatasetInfo, trained: TrainResult, report: EvaluationReport) -> str:
    """The text that the registry shows of a version."""
    scores = "; ".join(f"{score.task} {score.metric} {score.value:.3f}" for score in report.scores)
    size = f"{trained.num_parameters / 1e6:.1f} M parameters, {trained.steps:,} steps"
    return f"{config.name}: {size}, {dataset.counts.kept:,} samples. Scores on {config.evaluate.split}: {scores}."


def describe(version: ModelVersionInfo) -> Summary:
    """Name, version, aliases and why."""
    aliases = ", ".join(version.aliases) or "no alias"
    row = {
        "model": version.name,
        "version": version.version,
        "aliases": aliases,
        "val score": version.score,
        "promoted": version.promoted,
        "reason": version.reason,
    }
    return Summary(
        line=f"{version.name} version {version.version} ({aliases}): {version.reason}",
        table=[row],
        metrics={"val_score": version.score, "version": float(version.version)},
        details={"uri": version.uri},
    )


@flow(name="register", validate_parameters=False)
def register_flow(
    config: PipelineConfig,
    dataset: DatasetInfo,
    encoded: EncodedDataset,
    encoders: EncodeOptions,
    trained: TrainResult,
    report: EvaluationReport,
) -> ModelVersionInfo:
    """Register the model of a pipeline; the aliases returned are those that the version has now."""
    work = partial(register_version, config, dataset, encoded, encoders, trained, report)
    version = run_stage(plan(config, encoded, encoders, trained, report), ModelVersionInfo, work, describe)
    return find_version(config.workspace, version.name, version.fingerprint) or version
