"""`multimodal distill CONF`: a trained decoder becomes one that writes in fewer steps.

ingest ──> (pretrain) ──> encode ──> train ──> distill ──> evaluate ──> register

The stages up to train are those of the pipeline, up to encode where another decoder is named. What is distilled is
evaluated and registered as any decoder is, by the sampler of the configuration with the steps that it now needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from prefect import flow, task

from flows import encode, evaluate, ingest, pairs, pretrain, register, train
from flows.encode import EncodedDataset
from flows.pipeline import Intention, PipelineResult, dry_run, intention, pipeline, read_config, tracked
from flows.reporter import StageReporter
from flows.stage import IO_RETRIES, StagePlan, run_stage
from flows.train import describe, job_of
from multimodal.config import PipelineConfig
from multimodal.dataset import DatasetInfo
from multimodal.evaluation import EvaluationReport
from multimodal.pairs.filtered import left_out_of, open_dataset
from multimodal.registry import ModelVersionInfo, fetch_package
from multimodal.training.distillation.rounds import distill, lineage, plan_distill, round_job, sampler_of_round
from multimodal.training.finetuning.start import REGISTERED, start_folder
from multimodal.training.job import TrainResult


@dataclass(frozen=True, slots=True)
class Teacher:
    """A decoder to be distilled.

    Args:
        path: its folder.
        name: what tags and card call it: as the command named it, or its training and step.
    """

    path: Path
    name: str


@flow(name="multimodal-distill", validate_parameters=False)
def distill_pipeline(config_path: str, overrides: Sequence[str] = (), source: str | None = None) -> PipelineResult:
    """Distil the decoder of a pipeline, or another one on its data; evaluate and register the student.

    Args:
        config_path: a file of conf/.
        overrides: `key.sub=value`, as on the command line.
        source: folder of a checkpoint, of a training or of a package, or `models:/name@champion`; None: the decoder
            of this configuration, which is trained if it is not there.
    """
    config = read_config(config_path, overrides)
    round_job(job_of(config), config.distill, 1, Path(source or "teacher"))  # refused before a teacher is trained
    shared = pipeline(config_path, overrides, "encode" if source else "train")
    assert shared.encoded is not None
    teacher = teacher_of(config, source, shared.trained)
    student = student_config(config)
    encoders = pretrain.encoders_of(config, shared.dataset)
    origin = lineage(config.distill, teacher.path, teacher.name)
    with tracked(student):
        distilled = distill_flow(config, shared.dataset, shared.encoded, teacher)
        report = evaluate.evaluate_flow(student, shared.dataset, shared.encoded, distilled)
        version = register.register_flow(student, shared.dataset, shared.encoded, encoders, distilled, report, origin)
    return PipelineResult(config.workspace, shared.dataset, shared.encoded, distilled, report, version)


@flow(name="distill", validate_parameters=False)
def distill_flow(
    config: PipelineConfig, dataset: DatasetInfo, encoded: EncodedDataset, teacher: Teacher
) -> TrainResult:
    """Train a student of a decoder, in rounds."""
    work = partial(distill_decoder, config, dataset, encoded, teacher)
    return run_stage(plan(config, dataset, encoded, teacher), TrainResult, work, describe)


def plan(config: PipelineConfig, dataset: DatasetInfo, encoded: EncodedDataset, teacher: Teacher) -> StagePlan:
    """What distill depends on: teacher, dataset, encoders, options of it and of the training, the seed, the code."""
    encoders = {str(info.modality): info.encoder_fingerprint for info in encoded.latents}
    left_out = left_out_of(open_dataset(dataset.path, encoded.pairs))
    parts = plan_distill(job_of(config), config.distill, teacher.path, dataset.fingerprint, encoders, left_out)
    return StagePlan.of(config, "distill", parts)


@task(name="distil the decoder", **IO_RETRIES)
def distill_decoder(
    config: PipelineConfig, dataset: DatasetInfo, encoded: EncodedDataset, teacher: Teacher, reporter: StageReporter
) -> TrainResult:
    """Distil, or go on where an interrupted run stopped."""
    reporter.run.set_tags(lineage(config.distill, teacher.path, teacher.name))
    return distill(
        job_of(config),
        config.distill,
        teacher.path,
        open_dataset(dataset.path, encoded.pairs),
        encoded.by_modality,
        config.workspace,
        log=reporter.log,
        progress=reporter.progress,
    )


def teacher_of(config: PipelineConfig, source: str | None, trained: TrainResult | None) -> Teacher:
    """The decoder that the command names, or the one that the pipeline trained; a registered model is fetched.

    Raises:
        RegistryError: that model is not there.
    """
    if source is None:
        assert trained is not None
        return Teacher(trained.checkpoint, f"{trained.fingerprint}/{trained.checkpoint.name}")
    if source.startswith(REGISTERED):
        return Teacher(fetch_package(config.workspace, source), source)
    folder = start_folder(source)
    return Teacher(folder, f"{folder.parent.name}/{folder.name}" if folder.is_dir() else source)


def student_config(config: PipelineConfig) -> PipelineConfig:
    """The configuration that a student is evaluated and packed by: with the steps of the last round."""
    sampler = sampler_of_round(config.sampler, config.distill, config.distill.rounds)
    return config.model_copy(update={"sampler": sampler})


def distill_intentions(config: PipelineConfig, source: str | None) -> list[Intention]:
    """What `distill_pipeline` would do, in order; nothing is written."""
    intentions = dry_run(config, "encode" if source else "train")
    for planned in _plans_while_unchanged(config, source) if not intentions[-1].runs else ():
        intentions.append(planned)
        if planned.runs:
            break
    known = {one.stage for one in intentions}
    later = [stage for stage in ("distill", "evaluate", "register") if stage not in known]
    return intentions + [Intention(stage, True, f"depends on {intentions[-1].stage}") for stage in later]


def _plans_while_unchanged(config: PipelineConfig, source: str | None) -> Iterator[Intention]:
    """As of the pipeline, whose stages have their results."""
    dataset = ingest.plan(config).result(DatasetInfo)
    assert dataset is not None
    encoders = pretrain.encoders_of(config, dataset)
    encoded = encode.plan(config, dataset, encoders).result(EncodedDataset)
    assert encoded is not None
    if pairs.is_needed(config):
        scored = pairs.plan(config, dataset, encoded, encoders).result(pairs.ScoredPairs)
        assert scored is not None
        encoded = replace(encoded, pairs=scored.path)
    trained = None if source else train.plan(config, dataset, encoded).result(TrainResult)
    planned = plan(config, dataset, encoded, teacher_of(config, source, trained))
    yield intention(planned, distilled := planned.result(TrainResult))
    assert distilled is not None  # the caller stops at the first stage that would run
    student = student_config(config)
    planned = evaluate.plan(student, dataset, encoded, distilled)
    yield intention(planned, report := planned.result(EvaluationReport))
    assert report is not None
    planned = register.plan(student, encoded, encoders, distilled, report)
    yield intention(planned, planned.result(ModelVersionInfo))
