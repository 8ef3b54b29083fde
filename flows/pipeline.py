"""The whole job on one page: sources in, a registered model out. Read this first.

    ingest ──> (pretrain) ──> encode ──> (pairs) ──> train ──> evaluate ──> register

Each stage is a Prefect flow of its own, in the file of its name. A stage whose inputs, options and code are those of
an earlier result is skipped and says so; `dry_run` tells what a run would do, and why, without doing it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from prefect import flow, runtime
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows import encode, evaluate, ingest, pairs, pretrain, register, train
from flows.console import console
from flows.fetched import with_fetched
from flows.stage import PIPELINE_RUN, STAGES, StagePlan
from multimodal.config import PipelineConfig, load_config
from multimodal.dataset import DatasetInfo
from multimodal.encoders import BUILDERS
from multimodal.errors import ConfigError
from multimodal.evaluation import EvaluationReport
from multimodal.registry import ModelVersionInfo
from multimodal.sample import Task
from multimodal.tracking import FLOW_RUN_ID, FLOW_RUN_URL, close_orphans, open_run
from multimodal.training.job import TrainResult


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """What the stages returned, None where the run was to stop earlier."""

    workspace: Path
    dataset: DatasetInfo
    encoded: encode.EncodedDataset | None = None
    trained: TrainResult | None = None
    report: EvaluationReport | None = None
    version: ModelVersionInfo | None = None


@flow(name="multimodal")
def pipeline(config_path: str, overrides: Sequence[str] = (), until: str = "register") -> PipelineResult:
    """Run the stages up to `until`, each only if something that it depends on has changed.

    Args:
        config_path: a file of conf/.
        overrides: `key.sub=value`, as on the command line.
        until: the last stage to run, one of `flows.stage.STAGES`.
    """
    config = read_config(config_path, overrides, until)
    last = STAGES.index(until)
    with tracked(config):
        dataset = ingest.ingest_flow(config)
        ingest.log_dataset(config, dataset)
        if last < STAGES.index("pretrain"):
            return PipelineResult(config.workspace, dataset)
        encoders = pretrain.pretrain_flow(config, dataset) if pretrain.is_needed(config) else config.encode
        if last < STAGES.index("encode"):
            return PipelineResult(config.workspace, dataset)
        encoded = encode.encode_flow(config, dataset, encoders)
        if pairs.is_needed(config):  # with encode: whoever asks for latents may train on them
            encoded = pairs.pairs_flow(config, dataset, encoded, encoders)
        if last < STAGES.index("train"):
            return PipelineResult(config.workspace, dataset, encoded)
        trained = train.train_flow(config, dataset, encoded)
        if last < STAGES.index("evaluate"):
            return PipelineResult(config.workspace, dataset, encoded, trained)
        report = evaluate.evaluate_flow(config, dataset, encoded, trained)
        if last < STAGES.index("register"):
            return PipelineResult(config.workspace, dataset, encoded, trained, report)
        version = register.register_flow(config, dataset, encoded, encoders, trained, report)
        return PipelineResult(config.workspace, dataset, encoded, trained, report, version)


def read_config(config_path: str, overrides: Sequence[str] = (), until: str = "register") -> PipelineConfig:
    """The configuration of a run, its workspace as an absolute path, registered encoders as the folders they lie in.

    Args:
        until: the last stage that shall run; ingest needs no encoders.

    Raises:
        ConfigError: it is wrong, or what it says does not fit together.
        RegistryError: a registered encoder that it names is not there.
    """
    config = load_config(config_path, overrides)
    for source in config.ingest.sources:
        is_missing = source.task is not Task.INFILL and config.encode.of(source.task.modality) is None
        if is_missing and until != "ingest":
            raise ConfigError(
                f"{config_path}: source '{source.name}' is for '{source.task}', which needs an encoder in every stage "
                f"after ingest; add encode.{source.task.modality}, drop the source, or run `multimodal ingest`"
            )
    _refuse_contradictions(config_path, config)
    config = config.model_copy(update={"workspace": config.workspace.resolve()})
    return config.model_copy(update={"encode": with_fetched(config.workspace, config.encode)})


def _refuse_contradictions(config_path: str, config: PipelineConfig) -> None:
    """What would otherwise stop a run only after ingest and encode."""
    for modality, kinds in BUILDERS.items():
        encoder = config.encode.of(modality)
        if encoder is not None and encoder.kind not in kinds:
            raise ConfigError(
                f"{config_path}: encode.{modality}.kind: '{encoder.kind}' is no {modality} encoder; "
                f"use {' or '.join(kinds)}"
            )
    size, heads = config.decoder.hidden_size, config.decoder.num_heads
    if size % (2 * heads):
        raise ConfigError(f"{config_path}: decoder.hidden_size {size} must be a multiple of 2 * num_heads {2 * heads}")
    if not any(config.train.tasks.get(source.task, 0) > 0 for source in config.ingest.sources):
        named = ", ".join(sorted({source.task for source in config.ingest.sources}))
        raise ConfigError(f"{config_path}: train.tasks gives none of the sources' tasks ({named}) a weight above 0")


@contextmanager
def tracked(config: PipelineConfig) -> Iterator[None]:
    """The MLflow run of the pipeline; runs that a dead process left open are closed first.

    Stage flows run without a heartbeat of their own (the pipeline has one): it would cost a second each.
    """
    for orphan in close_orphans(config.workspace):
        console().print(f"closed the run that process {orphan.pid} left open in stage '{orphan.stage}' (KILLED)")
    tags = {FLOW_RUN_ID: str(runtime.flow_run.id or ""), FLOW_RUN_URL: str(runtime.flow_run.ui_url or "")}
    with open_run(config.workspace, config.name, config.model_dump(mode="json"), tags) as run:
        token = PIPELINE_RUN.set(run)
        try:
            with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
                yield
        finally:
            PIPELINE_RUN.reset(token)


@dataclass(frozen=True, slots=True)
class Intention:
    """What a run would do with a stage, and why."""

    stage: str
    runs: bool
    why: str


def dry_run(config: PipelineConfig, until: str = "register") -> list[Intention]:
    """What `pipeline` would do, in order; nothing is written. After the first stage that would run, all would."""
    optional = {"pretrain": pretrain.is_needed(config), "pairs": pairs.is_needed(config)}
    stages = [stage for stage in STAGES if optional.get(stage, True)]
    intentions: list[Intention] = []
    for plan in _plans_while_unchanged(config):
        intentions.append(plan)
        if plan.runs:
            break
    known = [intention.stage for intention in intentions]
    later = [stage for stage in stages if stage not in known]
    intentions += [Intention(stage, True, f"depends on {known[-1]}") for stage in later]
    wanted = STAGES[: STAGES.index("pairs" if until == "encode" else until) + 1]
    return [intention for intention in intentions if intention.stage in wanted]


def _plans_while_unchanged(config: PipelineConfig) -> Iterator[Intention]:
    """Each stage's intention; a stage can be planned only when the results before it are there."""
    dataset = (plan := ingest.plan(config)).result(DatasetInfo)
    yield intention(plan, dataset)
    assert dataset is not None  # the caller stops at the first stage that would run
    encoders = config.encode
    if pretrain.is_needed(config):
        made = (plan := pretrain.plan(config, dataset)).result(pretrain.PretrainedEncoders)
        yield intention(plan, made)
        assert made is not None
        encoders = pretrain.with_weights(config.encode, made)
    encoded = (plan := encode.plan(config, dataset, encoders)).result(encode.EncodedDataset)
    yield intention(plan, encoded)
    assert encoded is not None
    if pairs.is_needed(config):
        scored = (plan := pairs.plan(config, dataset, encoded, encoders)).result(pairs.ScoredPairs)
        yield intention(plan, scored)
        assert scored is not None
        encoded = replace(encoded, pairs=scored.path)
    trained = (plan := train.plan(config, dataset, encoded)).result(TrainResult)
    yield intention(plan, trained)
    assert trained is not None
    report = (plan := evaluate.plan(config, dataset, encoded, trained)).result(EvaluationReport)
    yield intention(plan, report)
    assert report is not None
    plan = register.plan(config, encoded, encoders, trained, report)
    yield intention(plan, plan.result(ModelVersionInfo))


def intention(plan: StagePlan, result: object | None) -> Intention:
    """Whether a stage would run, by what is known of its result."""
    unchanged = result is not None
    return Intention(plan.stage, not unchanged, plan.unchanged_because if unchanged else plan.changed_because())
