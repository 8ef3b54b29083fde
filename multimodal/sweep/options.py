"""What a sweep file says: the base configuration, what is varied in it and how often. Light: loads nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, field_validator, model_validator

from multimodal.config import PipelineConfig, load_config, load_options
from multimodal.errors import ConfigError
from multimodal.options import Options

SWEPT = ("tokenizer", "decoder", "train", "sampler", "seed")
"""The options that a training depends on: whatever comes before is shared by all trials."""

Value = bool | int | float | str | None
"""A value of one key."""


class Dimension(Options):
    """The values that one key may take: a range, or a list of choices.

    Args:
        low, high: both ends are within the range; whole numbers where both are and the key takes whole numbers.
        log: draw the logarithm evenly; `low` must be above 0.
        step: only low, low + step, ...
        choices: values without an order.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = Field(default=None, gt=0)
    choices: tuple[Value, ...] = ()

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.choices:
            if self.low is not None or self.high is not None or self.log or self.step is not None:
                raise ValueError("choices stand alone; drop low, high, log and step, or drop choices")
            if len(set(map(repr, self.choices))) < len(self.choices):
                raise ValueError("a choice is named twice")
        elif self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices")
        elif not self.low < self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        elif self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0 and no step")
        return self

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values that stand for all others when a key is checked: both ends, or every choice."""
        return self.choices or (self.low, self.high)

    def holds(self, value: Value) -> bool:
        """Whether a value can be tried as it is."""
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None and self.high is not None
        on_grid = self.step is None or abs((value - self.low) / self.step % 1) < 1e-9
        return self.low <= value <= self.high and on_grid


class SweepOptions(Options):
    """A sweep: which configuration is varied, in what, how often.

    Args:
        name: of the sweep's folder in the workspace.
        base: a pipeline configuration; its own values are the first trial where the space holds them.
        workspace: overrules the base's.
        fixed: overrules keys of the base for all trials, nested as in the base, e.g. shorter trainings.
        trials: how many configurations are tried in all, interrupted sweeps included; raise it to go on.
        startup_trials: so many are drawn at random before Optuna's TPE sampler (Bergstra et al. 2011) learns from
            them, and so many are completed before any is pruned.
        prune: stop a trial whose best sampled score so far is below the median of the earlier trials' scores at the
            same optimiser step (Golovin et al. 2017).
        warmup_steps: optimiser steps before which no trial is pruned.
        seed: of the search.
        space: key of the configuration -> the values it may take, e.g. `train.learning_rate: {low, high, log}`.
    """

    name: str = Field(default="sweep", pattern=r"^[a-z0-9][a-z0-9-]*$")
    base: Path
    workspace: Path | None = None
    fixed: dict[str, Any] = Field(default_factory=dict)
    trials: int = Field(default=20, ge=1)
    startup_trials: int = Field(default=5, ge=1)
    prune: bool = True
    warmup_steps: int = Field(default=0, ge=0)
    seed: int = 0
    space: dict[str, Dimension] = Field(min_length=1)

    @field_validator("space")
    @classmethod
    def _only_what_training_depends_on(cls, space: dict[str, Dimension]) -> dict[str, Dimension]:
        for key in space:
            if key.partition(".")[0] not in SWEPT:
                raise ValueError(
                    f"'{key}' cannot be varied, for all trials share the stages before train; "
                    f"keys begin with {', '.join(SWEPT[:-1])} or {SWEPT[-1]}"
                )
        return space

    def base_overrides(self) -> list[str]:
        """What is overruled in the base for all trials, as `key.sub=value`."""
        place = {} if self.workspace is None else {"workspace": str(self.workspace)}
        return [override(key, value) for key, value in leaves({**self.fixed, **place})]

    def base_config(self) -> PipelineConfig:
        """The configuration that is varied."""
        return load_config(self.base, self.base_overrides())

    def base_values(self) -> dict[str, Value]:
        """What the base itself says of the keys of the space."""
        config = self.base_config()
        return {key: value_of(config, key) for key in self.space}


def read_sweep(path: str | Path, overrides: Sequence[str] = ()) -> SweepOptions:
    """Read a sweep file, and check that its base takes every key at both ends of its range and all of its choices.

    Raises:
        ConfigError: the file, its base or a dimension of the space is wrong; nothing has been done yet.
    """
    options = load_options(SweepOptions, path, overrides)
    for key, dimension in options.space.items():
        for value in dimension.extremes:
            try:
                load_config(options.base, [*options.base_overrides(), override(key, value)])
            except ConfigError as error:
                raise ConfigError(f"{path}: space.{key}, at {value}: {error}") from error
    return options


def override(key: str, value: Value) -> str:
    """`key=value` as the command line and `load_config` read it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return f"{key}={text.strip().removesuffix('...').strip()}"


def value_of(config: PipelineConfig, key: str) -> Value:
    """The value of a dotted key; None where the configuration says nothing of it."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else getattr(value, part, None)
    return value if isinstance(value, bool | int | float | str) else None


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every leaf of nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
