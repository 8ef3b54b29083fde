"""One YAML file describes one job: `PipelineConfig` composes the options of the stages.

Precedence: defaults in code, then the YAML file, then `key.sub=value` from the command line. Unknown keys fail and
name the nearest known key. Relative paths are relative to the working directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from multimodal.diffusion import sampler_for
from multimodal.encoders.options import EncodeOptions
from multimodal.errors import ConfigError
from multimodal.evaluation.options import EvaluateOptions
from multimodal.ingest.options import IngestOptions
from multimodal.options import Options
from multimodal.promotion.options import GateOptions
from multimodal.sample import Task
from multimodal.training.distillation.options import DistillOptions
from multimodal.training.options import DecoderOptions, SamplerOptions, TokenizerOptions, TrainOptions

OptionsT = TypeVar("OptionsT", bound=Options)


class RegistryOptions(Options):
    """How the model is registered.

    Args:
        promote: move the alias `champion` to the new version when it passes the gate.
        gate: the limits that it must keep; see `multimodal.promotion`.
        approval: a version that passed the gate also needs a person's approval: the run pauses and asks in Prefect.
        approval_minutes: how long it waits. Unanswered, the version stays a challenger.
        licences: source name -> licence of its data, for the model card.
    """

    promote: bool = True
    gate: GateOptions = GateOptions()
    approval: bool = False
    approval_minutes: float = Field(default=60.0, gt=0)
    licences: dict[str, str] = Field(default_factory=dict)


class PipelineConfig(Options):
    """All options of one pipeline."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="experiment and registered model")
    seed: int = 0
    workspace: Path = Path("workspace")
    ingest: IngestOptions
    encode: EncodeOptions = EncodeOptions()  # ingest alone needs none
    tokenizer: TokenizerOptions = TokenizerOptions()
    decoder: DecoderOptions = DecoderOptions()
    train: TrainOptions = TrainOptions()
    distill: DistillOptions = DistillOptions()
    sampler: SamplerOptions = SamplerOptions()
    evaluate: EvaluateOptions = EvaluateOptions()
    registry: RegistryOptions = RegistryOptions()

    @model_validator(mode="after")
    def _sampler_goes_with_the_process(self) -> PipelineConfig:
        if self.train.process != "autoregressive":
            sampler_for(self.train.process, self.sampler.kind)
        return self

    @model_validator(mode="after")
    def _scores_come_from_stored_latents(self) -> PipelineConfig:
        if any(self.sampler.of(task).rerank == "clip" for task in Task):
            raise ValueError(
                "sampler.rerank clip needs the pictures' encoder, which scoring has not at hand; name it when you "
                "predict (--rerank clip) or serve (parameter rerank)"
            )
        return self


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Read a pipeline configuration; see `load_options`."""
    return load_options(PipelineConfig, path, overrides)


def load_options(kind: type[OptionsT], path: str | Path, overrides: Sequence[str] = ()) -> OptionsT:
    """Read options of any kind from YAML, with `key.sub=value` overrides (values are YAML too).

    Raises:
        ConfigError: the file is absent or no mapping, an override has no `=`, a key is unknown or a value is wrong.
    """
    path = Path(path)
    values = _read(path)
    for override in overrides:
        _override(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problems(error)}") from error


def has_sources(path: str | Path) -> bool:
    """Whether a configuration is a pipeline's: it has sources to ingest.

    Raises:
        ConfigError: the file is absent or no mapping.
    """
    return "ingest" in _read(Path(path))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"no configuration at {path}; the project's own are in conf/")
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {type(values).__name__}, expected keys and values")
    return values


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override '{override}' is not of the form key.sub=value")
    *parents, last = key.split(".")
    for parent in parents:
        child = values.get(parent)
        if child is None:
            child = values[parent] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"override '{override}': '{parent}' holds no keys of its own")
        values = child
    try:
        values[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"override '{override}': the value is not YAML: {error}") from error


def _first_problems(error: ValidationError, most: int = 3) -> str:
    lines = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'top level'}: "
        f"{problem['msg'].removeprefix('Value error, ')} (got {problem['input']!r:.60})"
        for problem in error.errors()[:most]
    ]
    return "; ".join(lines)
