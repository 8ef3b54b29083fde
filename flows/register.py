"""Stage 5: checkpoint, encoders and report -> a registered model version, perhaps the new champion.

The version is judged by the promotion gate of the configuration; its verdicts go to the version's tags and to the
table `promotion-gate` in Prefect. With `registry.approval` the flow run pauses after a version has passed and asks a
person, in Prefect's dashboard (Resume) or by `prefect.flow_runs.resume_flow_run(ID, run_input={"approve": True})`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from prefect import flow, pause_flow_run, runtime, task
from prefect.artifacts import create_table_artifact
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput

from flows.artifacts import Summary
from flows.encode import EncodedDataset, as_encoded
from flows.evaluate import metrics_of
from flows.reporter import StageReporter
from flows.stage import IO_RETRIES, StagePlan, run_stage
from multimodal import __version__
from multimodal.config import PipelineConfig
from multimodal.dataset import Dataset, DatasetInfo
from multimodal.encoders import build_encoder
from multimodal.encoders.options import EncodeOptions
from multimodal.evaluation import EvaluationReport
from multimodal.evaluation.report import stamp_verdict
from multimodal.fingerprint import code_version, write_file
from multimodal.model_card import model_card, package_facts
from multimodal.package import ModelPackage, modalities_of, write_package
from multimodal.pairs.filtered import open_dataset
from multimodal.predictor import Row
from multimodal.promotion import rules_table
from multimodal.registry import ModelVersionInfo, describe_version, find_version, promote_version, register_model
from multimodal.sample import Content, Modality, Sample, Split, Task
from multimodal.tasks import make_gap
from multimodal.tracking import FLOW_RUN_ID, tracking_uri
from multimodal.training.job import TrainResult

PROBES_PER_TASK = 2
CODE = ("package.py", "predictor.py", "pyfunc_model.py", "registry", "promotion", "model_card.py", "serving.py")
APPROVAL_POLL_SECONDS = 5


class Approval(RunInput):
    """What a person is asked when a version has passed the gate."""

    approve: bool = False
    note: str = ""


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
        "code": code_version(*CODE),
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
    origin: Mapping[str, str],
    reporter: StageReporter,
) -> ModelVersionInfo:
    """Pack decoder and encoders, log them as a model, and decide whether it is the champion."""
    reporter.progress(0, 2)
    package = make_package(config, dataset, encoded, encoders, trained)
    reporter.progress(1, 2)
    tags = {name: f"{value:.6g}" for name, value in metrics_of(config, report).items()}
    tags |= {"dataset.fingerprint": dataset.fingerprint, "dataset.merkle_root": dataset.merkle_root}
    tags |= {"train.fingerprint": trained.fingerprint}
    tags |= {"evaluation.fingerprint": report.fingerprint, FLOW_RUN_ID: str(runtime.flow_run.root_flow_run_id or "")}
    tags |= origin
    facts = facts_of_model(config, dataset, trained, report, package)
    facts["training"] |= origin
    version = register_model(
        config.workspace,
        config.name,
        package,
        reporter.run.run_id,
        trained.val_score,
        evaluation=report.path,
        gate=config.registry.gate,
        promote=config.registry.promote,
        approval=config.registry.approval,
        facts=facts,
        tags=tags,
    )
    facts |= {"version": version.version, "origin": {"registered by MLflow run": version.run_id, **origin}}
    scores = json.loads(report.json.read_text())
    describe_version(config.workspace, version, model_card(facts, scores, version.gate))
    reporter.progress(2, 2)
    return version


def facts_of_model(
    config: PipelineConfig,
    dataset: DatasetInfo,
    trained: TrainResult,
    report: EvaluationReport,
    package: ModelPackage,
) -> dict[str, Any]:
    """Everything that the model card says, as JSON values."""
    licences = config.registry.licences
    return {
        "name": config.name,
        "config": config.model_dump(mode="json", exclude={"workspace"}),
        "data": {
            "fingerprint": dataset.fingerprint,
            "digest": dataset.digest,
            "merkle_root": dataset.merkle_root,
            "counts": {name: getattr(dataset.counts, name) for name in ("rows", "kept", "quarantined", "duplicate")},
            "by_split": dict(dataset.by_split),
            "by_task": dict(dataset.by_task),
            "by_reason": dict(dataset.by_reason),
            "sources": {
                source.name: {"task": source.task, "path": str(source.path), "licence": licences.get(source.name, "")}
                for source in config.ingest.sources
            },
        },
        "training": {
            "fingerprint": trained.fingerprint,
            "checkpoint": trained.checkpoint.name,
            "parameters": trained.num_parameters,
            "steps": trained.steps,
            "minutes": round(trained.minutes, 2),
            "val_score": trained.val_score,
        },
        "evaluation": {"fingerprint": report.fingerprint},
        "package": package_facts(package.path),
        "code": {"library version": __version__, "SHA-256 of the library's code": code_version(".")},
    }


def ask_approval(version: ModelVersionInfo, minutes: float) -> Approval | None:
    """Pause the flow run until a person answers; None where nobody does in time."""
    verdicts = "\n".join(f"- {rule.name}: {rule.text}" for rule in version.gate)
    question = f"Make **{version.name} version {version.version}** champion? It passed the gate:\n\n{verdicts}"
    asked = Approval.with_initial_data(description=question, approve=False, note="")
    try:
        return pause_flow_run(wait_for_input=asked, timeout=round(60 * minutes), poll_interval=APPROVAL_POLL_SECONDS)
    except FlowPauseTimeout:
        return None


def settle(config: PipelineConfig, version: ModelVersionInfo, reporter: StageReporter) -> ModelVersionInfo:
    """Ask a person where the configuration wants it and the gate lets the version pass, and act on the answer."""
    asked = config.registry.approval and config.registry.promote and not version.promoted
    if not asked or not version.gate or not all(rule.passed for rule in version.gate):
        return version
    reporter.say("waits for a person's approval in Prefect")
    answer = ask_approval(version, config.registry.approval_minutes)
    if answer is None or not answer.approve:
        return version
    return promote_approved(config, version, f"approved by a person{': ' + answer.note if answer.note else ''}")


@task(name="promote the approved version", **IO_RETRIES)
def promote_approved(config: PipelineConfig, version: ModelVersionInfo, note: str) -> ModelVersionInfo:
    """Make the version champion, unless another has become champion meanwhile and is not beaten."""
    return promote_version(config.workspace, version, note, config.registry.gate)


def publish_gate(version: ModelVersionInfo) -> None:
    """The gate's verdicts as a table artifact."""
    verdict = f"{version.name} version {version.version}: {version.reason}"
    create_table_artifact(rules_table(version.gate), key="promotion-gate", description=verdict)


def publish_report(report: EvaluationReport, version: ModelVersionInfo, reporter: StageReporter) -> None:
    """Write the verdict at the head of report.html, and keep the page with the run that registered the version."""
    verdict = f"{'promoted' if version.promoted else 'not promoted'}: {version.reason}"
    write_file(report.html, stamp_verdict(report.html.read_text(), version.promoted, verdict).encode())
    reporter.run.log_file(report.html)


def make_package(
    config: PipelineConfig,
    dataset: DatasetInfo,
    encoded: EncodedDataset,
    encoders: EncodeOptions,
    trained: TrainResult,
) -> ModelPackage:
    """One folder with all that prediction needs, and a few test samples that it must answer alike wherever it is."""
    encoders = as_encoded(encoders, encoded)
    chosen = {modality: encoders.of(modality) for modality in modalities_of(trained.checkpoint)}
    # A model that was trained further also reads what its earlier data had; those encoders must have weights.
    known = {info.modality for info in encoded.latents}
    built = {
        modality: build_encoder(options, modality)
        for modality, options in chosen.items()
        if options and (modality in known or options.weights)
    }
    probe = list(probe_rows(open_dataset(dataset.path, encoded.pairs), config))
    folder = config.workspace / "packages"
    return write_package(folder, trained.checkpoint, built, encoders, config.sampler, probe)


def probe_rows(dataset: Dataset, config: PipelineConfig) -> Iterator[Row]:
    """The first samples of each task of the evaluated split, as rows of a prediction table."""
    for task_name in dataset.info.by_task:
        samples = dataset.samples(split=config.evaluate.split, task=Task(task_name))[:PROBES_PER_TASK]
        if config.train.tasks.get(Task(task_name), 0) <= 0 or not dataset.samples(Split.TRAIN, Task(task_name)):
            continue
        media = {content.content_id: content.data for content in _media(dataset, samples)}
        for sample in samples:
            row = _probe_row(sample, media.get(sample.content_id))
            yield replace(row, style=sample.style, hint=sample.hint, picture_data=media.get(sample.picture))


def _media(dataset: Dataset, samples: list[Sample]) -> Iterator[Content]:
    if samples and samples[0].modality is not Modality.TEXT:
        yield from dataset.contents([sample.content_id for sample in samples], samples[0].modality)
    pictures = [sample.picture for sample in samples if sample.picture]
    if pictures:
        yield from dataset.contents(pictures, Modality.IMAGE)


def _probe_row(sample: Sample, data: bytes | None) -> Row:
    if data is not None:
        return Row(str(sample.task), data=data)
    if sample.task is Task.INFILL:
        return Row(str(sample.task), text=make_gap(sample.text, sample.sample_id).text_with_gap)
    return Row(str(sample.task), text=sample.input)


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
    origin: Mapping[str, str] | None = None,
) -> ModelVersionInfo:
    """Register the model of a pipeline; the aliases returned are those that the version has now.

    Args:
        config, dataset, encoded, encoders, trained, report: of the stages before.
        origin: further tags that say what the decoder was made from, beside the dataset.
    """

    def work(reporter: StageReporter) -> ModelVersionInfo:
        version = register_version(config, dataset, encoded, encoders, trained, report, origin or {}, reporter)
        version = settle(config, version, reporter)  # in the flow, not in the task: only a flow run can pause
        publish_gate(version)
        publish_report(report, version, reporter)
        return version

    version = run_stage(plan(config, encoded, encoders, trained, report), ModelVersionInfo, work, describe)
    return find_version(config.workspace, version.name, version.fingerprint) or version
