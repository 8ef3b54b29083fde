"""Stage between ingest and encode, where an encoder names no weights: its tower learns from the train split.

It learns from scratch, or from `encode.<modality>.pretrain.start`, wholly or by adapters. `flows.adapt` registers it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, task

from flows.artifacts import Summary
from flows.encode import needed_modalities
from flows.reporter import StageReporter
from flows.stage import IO_RETRIES, StagePlan, run_stage
from multimodal.config import PipelineConfig
from multimodal.dataset import Dataset, DatasetInfo
from multimodal.encoders.options import EncodeOptions, EncoderOptions
from multimodal.errors import DatasetError
from multimodal.fingerprint import code_version, file_digest, file_digests, write_json
from multimodal.ingest import DECODERS
from multimodal.sample import Modality


@dataclass(frozen=True, slots=True)
class PretrainedEncoders:
    """What the pretrain stage returns.

    Args:
        path: folder with one sub-folder per tower.
        options: of all encoders, the new towers' weights filled in.
        towers: modalities that were trained.
    """

    path: Path
    options: EncodeOptions
    towers: tuple[Modality, ...]


def is_needed(config: PipelineConfig) -> bool:
    """Whether any encoder of the configuration names no weights."""
    named = [config.encode.of(modality) for modality in Modality]
    return any(options is not None and options.weights is None for options in named)


def towers_of(config: PipelineConfig, dataset: DatasetInfo) -> list[Modality]:
    """Modalities that the dataset needs and that name no weights."""
    chosen = [(modality, config.encode.of(modality)) for modality in needed_modalities(dataset)]
    return [modality for modality, options in chosen if options is not None and options.weights is None]


def encoders_of(config: PipelineConfig, dataset: DatasetInfo) -> EncodeOptions:
    """The encoders that a finished run used: those of the configuration, or those that it pretrained."""
    made = plan(config, dataset).result(PretrainedEncoders) if is_needed(config) else None
    return config.encode if made is None else with_weights(config.encode, made)


def with_weights(options: EncodeOptions, made: PretrainedEncoders) -> EncodeOptions:
    """The options as they are now, on the towers that an earlier run may have made: these know no storage or device."""
    chosen = {}
    for modality in made.towers:
        now, then = options.of(modality), made.options.of(modality)
        if now is not None and then is not None:
            chosen[str(modality)] = now.model_copy(update={"weights": then.weights})
    return options.model_copy(update=chosen)


def plan(config: PipelineConfig, dataset: DatasetInfo) -> StagePlan:
    """What pretraining depends on: the dataset, the towers' options and architectures, the code."""
    towers = {str(modality): config.encode.of(modality) for modality in towers_of(config, dataset)}
    options = {name: _parts(tower) for name, tower in towers.items() if tower}
    files = [Path(tower.model) for tower in towers.values() if tower and tower.model]
    parts = {
        "dataset": dataset.fingerprint,
        "encoders": options,
        "architectures": [file_digest(file)[:16] for file in files if file.is_file()],
        "code": code_version("encoders", *DECODERS, "synthetic/noise.py", "optimizer.py", "decoder", "tokenizer.py"),
    }
    return StagePlan.of(config, "pretrain", parts)


_OF_ENCODING = {"device", "batch_size", "storage", "precision", "decode_in", "decode_workers", "origin"}
"""Options of an encoder that say nothing about how its tower is trained."""


def _parts(tower: EncoderOptions) -> dict[str, Any]:
    """Options of a tower; the weights that it starts from by what they are, not by where they lie."""
    parts = tower.model_dump(mode="json", exclude=_OF_ENCODING)
    start = Path(tower.pretrain.start or "")
    if tower.pretrain.start and start.is_dir():
        parts["pretrain"]["start"] = file_digests(start)
    elif tower.pretrain.start and start.is_file():
        parts["pretrain"]["start"] = file_digest(start)
    return parts


def record_path(folder: Path, modality: Modality) -> Path:
    """What is known of a tower's training: `read_record` reads it."""
    return folder / f"{modality}.json"


def read_record(folder: Path, modality: Modality) -> dict[str, Any]:
    """Of a tower's training: `steps`, `minutes`, `start`, `scores`, `before`, `count`, and `history`, pairs of step and
    metrics.

    Raises:
        DatasetError: an earlier version of this program trained the tower, and noted none.
    """
    path = record_path(folder, modality)
    if not path.is_file():
        raise DatasetError(f"nothing is noted of the training of {folder / modality}; remove the folder and run again")
    values: dict[str, Any] = json.loads(path.read_text())
    return values


@task(name="pretrain one tower", **IO_RETRIES)
def pretrain_tower(
    config: PipelineConfig, info: DatasetInfo, modality: Modality, output: Path, reporter: StageReporter
) -> Path:
    """Train one tower and save it; one that an interrupted run of the same plan has finished is left alone."""
    record = record_path(output.parent, modality)
    if any(output.glob("*.safetensors")) and record.is_file():
        return output
    from multimodal.encoders.pretraining.on_dataset import train_on_dataset

    reporter.say(f"{modality} tower")
    options = config.encode.of(modality)
    assert options is not None
    log = _NamedLog(reporter, modality)
    made = train_on_dataset(options, modality, Dataset(info.path), progress=reporter.progress, log=log)
    made.encoder.save(output)
    log(made.steps, {f"val/{name}": value for name, value in made.scores.items()})
    values = {name: getattr(made, name) for name in ("steps", "minutes", "start", "count")}
    values |= {"scores": dict(made.scores), "before": dict(made.before), "history": log.history}
    write_json(record, values)
    return output


class _NamedLog:
    """A log whose metrics carry the tower's name; it remembers them without."""

    def __init__(self, reporter: StageReporter, modality: Modality) -> None:
        self._reporter, self._modality = reporter, modality
        self.history: list[tuple[int, dict[str, float]]] = []

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of one step."""
        self.history.append((step, dict(metrics)))
        self._reporter.log(step, {f"pretrain/{self._modality}/{name}": value for name, value in metrics.items()})


def pretrain_all(
    config: PipelineConfig, info: DatasetInfo, output: Path, reporter: StageReporter
) -> PretrainedEncoders:
    """Train the towers one after the other."""
    towers = towers_of(config, info)
    chosen = {}
    for modality in towers:
        weights = pretrain_tower(config, info, modality, output / modality, reporter)
        options = config.encode.of(modality)
        assert options is not None
        chosen[str(modality)] = options.model_copy(update={"weights": str(weights)})
    return PretrainedEncoders(output, config.encode.model_copy(update=chosen), tuple(towers))


def describe(made: PretrainedEncoders) -> Summary:
    """Where the towers are, and what they scored on the val split before and after."""
    table = [tower_row(made.path, modality) for modality in made.towers]
    return Summary(line=f"towers: {', '.join(made.towers)}", table=table, details={"folder": made.path})


def tower_row(folder: Path, modality: Modality) -> dict[str, Any]:
    """One tower in the stage's table."""
    row: dict[str, Any] = {"tower": str(modality), "weights": str(folder / modality)}
    path = record_path(folder, modality)
    noted: dict[str, Any] = read_record(folder, modality) if path.is_file() else {}
    for name in ("before", "scores"):
        scores = noted.get(name, {})
        row[{"scores": "val"}.get(name, name)] = ", ".join(f"{key} {value:.3f}" for key, value in scores.items())
    return row | {"steps": noted.get("steps")}


@flow(name="pretrain", validate_parameters=False)
def pretrain_flow(config: PipelineConfig, dataset: DatasetInfo) -> EncodeOptions:
    """Make the encoders that name no weights; returns the options of all encoders, weights filled in."""
    chosen = plan(config, dataset)
    output = config.workspace / "encoders" / chosen.fingerprint
    made = run_stage(chosen, PretrainedEncoders, partial(pretrain_all, config, dataset, output), describe)
    return with_weights(config.encode, made)
