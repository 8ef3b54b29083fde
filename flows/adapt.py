"""`multimodal pretrain CONF` for a pipeline's configuration: its towers are trained on its own data and registered.

ingest ──> pretrain ──> towers

The first two stages are those of the pipeline, so that `multimodal run CONF` goes on from there. Each tower becomes a
version of a registered model of its own, `<name>-<modality>`, which any configuration may name by
`encode.<modality>.weights: models:/<name>-<modality>@champion`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prefect import flow, runtime, task

from flows import ingest, pretrain
from flows.artifacts import Summary
from flows.pipeline import Intention, dry_run, intention, read_config, tracked
from flows.pretrain import PretrainedEncoders
from flows.reporter import StageReporter
from flows.stage import IO_RETRIES, StagePlan, run_stage
from multimodal.config import PipelineConfig
from multimodal.dataset import DatasetInfo
from multimodal.encoders.options import EncodeOptions, EncoderOptions
from multimodal.errors import ConfigError
from multimodal.fingerprint import code_version
from multimodal.registry import ModelVersionInfo, find_version, register_encoder, weights_digest
from multimodal.sample import Modality
from multimodal.tracking import FLOW_RUN_ID, tracking_uri

CODE = ("registry", "encoder_serving.py", "pyfunc_encoder.py")


@dataclass(frozen=True, slots=True)
class RegisteredTowers:
    """What the towers stage returns: their versions, and the folder that the towers and their records lie in."""

    folder: Path
    versions: tuple[ModelVersionInfo, ...]
    modalities: tuple[Modality, ...]


def require_towers(config_path: str, config: PipelineConfig) -> None:
    """Refuse a configuration that has nothing to train.

    Raises:
        ConfigError: all its encoders name weights.
    """
    if not pretrain.is_needed(config):
        raise ConfigError(
            f"{config_path}: all encoders name weights, so that there is no tower to train; to adapt one, move its "
            "`weights` to `pretrain.start`"
        )


@flow(name="multimodal-pretrain")
def pretrain_pipeline(config_path: str, overrides: Sequence[str] = ()) -> RegisteredTowers:
    """Train the towers of a configuration that name no weights on its train split, and register them."""
    config = read_config(config_path, overrides)
    require_towers(config_path, config)
    with tracked(config):
        dataset = ingest.ingest_flow(config)
        ingest.log_dataset(config, dataset)
        _require_used(config, dataset)
        encoders = pretrain.pretrain_flow(config, dataset)
        return towers_flow(config, dataset, encoders)


@flow(name="towers", validate_parameters=False)
def towers_flow(config: PipelineConfig, dataset: DatasetInfo, encoders: EncodeOptions) -> RegisteredTowers:
    """Register the trained towers."""
    work = partial(register_all, config, dataset, encoders)
    return run_stage(plan(config, dataset, encoders), RegisteredTowers, work, describe)


def plan(config: PipelineConfig, dataset: DatasetInfo, encoders: EncodeOptions) -> StagePlan:
    """What registering towers depends on: their files, the dataset, where the registry is, the code."""
    towers = {modality: Path(str(_options(encoders, modality).weights)) for modality in _towers(config, dataset)}
    parts = {
        "dataset": dataset.fingerprint,
        "weights": {str(modality): weights_digest(folder)[:16] for modality, folder in towers.items()},
        "promote": config.registry.promote,
        "registry": tracking_uri(config.workspace),
        "code": code_version(*CODE),
    }
    chosen = StagePlan.of(config, "towers", parts)
    known = chosen.result(RegisteredTowers)
    versions = known.versions if known else ()
    if any(find_version(config.workspace, info.name, info.fingerprint) is None for info in versions):
        chosen.forget()  # the registry was emptied since
    return chosen


def register_all(
    config: PipelineConfig, dataset: DatasetInfo, encoders: EncodeOptions, reporter: StageReporter
) -> RegisteredTowers:
    """Register the towers one after the other."""
    found = _towers(config, dataset)
    versions = []
    for done, modality in enumerate(found):
        reporter.progress(done, len(found))
        versions.append(register_tower(config, dataset, encoders, modality, reporter))
    reporter.progress(len(found), len(found))
    folder = Path(str(_options(encoders, found[0]).weights)).parent
    return RegisteredTowers(folder, tuple(versions), tuple(found))


@task(name="register one tower", **IO_RETRIES)
def register_tower(
    config: PipelineConfig, dataset: DatasetInfo, encoders: EncodeOptions, modality: Modality, reporter: StageReporter
) -> ModelVersionInfo:
    """Log a tower with the metrics of its training and its options, and register it as a version of its own model."""
    from multimodal.encoders.pretraining.on_dataset import score_of

    options = _options(encoders, modality)
    folder = Path(str(options.weights))
    noted = pretrain.read_record(folder.parent, modality)
    run = reporter.run
    run.log_params({f"tower.{modality}": options.model_dump(mode="json", exclude={"weights"})})
    for step, metrics in noted["history"]:
        run.log_metrics({f"pretrain/{modality}/{name}": value for name, value in metrics.items()}, step)
    for when in ("before", "scores"):
        name = f"pretrain/{modality}/{'val' if when == 'scores' else when}"
        run.log_metrics({f"{name}/{key}": value for key, value in noted[when].items()})
    value = score_of(noted["scores"])
    tags = {"dataset.fingerprint": dataset.fingerprint, "dataset.merkle_root": dataset.merkle_root}
    tags |= {"encoder.start": noted["start"], "encoder.origin": options.origin}
    tags |= {f"val/{key}": f"{score:.6g}" for key, score in noted["scores"].items()}
    tags |= {FLOW_RUN_ID: str(runtime.flow_run.root_flow_run_id or "")}
    return register_encoder(
        config.workspace,
        f"{config.name}-{modality}",
        folder,
        options,
        modality,
        run.run_id,
        score=None if value is None else (next(iter(noted["scores"])), value),
        promote=config.registry.promote,
        tags=tags,
    )


def describe(registered: RegisteredTowers) -> Summary:
    """The versions, and what their towers scored."""
    table = []
    for modality, info in zip(registered.modalities, registered.versions, strict=True):
        row = pretrain.tower_row(registered.folder, modality)
        named = {"version": info.uri, "aliases": ", ".join(info.aliases), "why": info.reason}
        table.append({"tower": row.pop("tower"), **named, **row})
    line = "; ".join(f"{info.name} version {info.version} ({', '.join(info.aliases)})" for info in registered.versions)
    return Summary(line=line, table=table, details={info.name: info.uri for info in registered.versions})


def adapt_intentions(config_path: str, overrides: Sequence[str] = ()) -> list[Intention]:
    """What `pretrain_pipeline` would do, in order; nothing is written."""
    config = read_config(config_path, overrides)
    require_towers(config_path, config)
    intentions = dry_run(config, "pretrain")
    if intentions[-1].runs:
        return [*intentions, Intention("towers", True, f"depends on {intentions[-1].stage}")]
    dataset = ingest.plan(config).result(DatasetInfo)
    assert dataset is not None
    made = pretrain.plan(config, dataset).result(PretrainedEncoders)
    assert made is not None
    planned = plan(config, dataset, pretrain.with_weights(config.encode, made))
    return [*intentions, intention(planned, planned.result(RegisteredTowers))]


def _require_used(config: PipelineConfig, dataset: DatasetInfo) -> None:
    if not _towers(config, dataset):
        named = ", ".join(dataset.by_task) or "none"
        raise ConfigError(f"no task of the dataset ({named}) is conditioned on what the configuration's towers encode")


def _towers(config: PipelineConfig, dataset: DatasetInfo) -> list[Modality]:
    return pretrain.towers_of(config, dataset)


def _options(encoders: EncodeOptions, modality: Modality) -> EncoderOptions:
    found = encoders.of(modality)
    assert found is not None
    return found
