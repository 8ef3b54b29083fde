"""What a comparison's file says: who competes, with which seeds, budget and samplers. Light: loads nothing heavy."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from multimodal.config import PipelineConfig, load_config, load_options
from multimodal.errors import ConfigError
from multimodal.options import Options
from multimodal.sweep.options import leaves, override
from multimodal.training.options import SamplerOptions

DEFAULT = "default"
"""Name of the point that a contender is judged by: the sampler of its own configuration."""

NO_STEP_LIMIT = 1_000_000
"""Optimiser steps of a training that only minutes end."""


class Curve(Options):
    """Settings of the sampler along which quality, calls and latency are drawn.

    Args:
        sampler: options over those of the contender's configuration.
        vary: one option of the sampler; `values` are given to it in turn.
        values: of that option; without `vary` the curve is a single point.
        source: the paper whose sampler this is. Such a curve is a rival: the contender's own points are held against
            it at equal calls.
    """

    sampler: dict[str, Any] = Field(default_factory=dict)
    vary: str = ""
    values: tuple[int | float | str, ...] = ()
    source: str = ""

    @model_validator(mode="after")
    def _values_vary_something(self) -> Self:
        if bool(self.vary) != bool(self.values):
            raise ValueError("`vary` names an option and `values` what it takes in turn; give both or neither")
        return self

    def points(self, name: str) -> dict[str, dict[str, Any]]:
        """Name of each point of the curve `name` -> what it varies."""
        if not self.vary:
            return {name: {}}
        return {f"{name} {self.vary}={value}": {self.vary: value} for value in self.values}


class Contender(Options):
    """One way to write.

    Args:
        model: `native`, this project's decoder; or `gpt2`, transformers' GPT-2 with cross-attention, of the same size.
        overrides: over the base, nested as there: what distinguishes this contender.
        curves: name -> settings of its sampler.
    """

    model: Literal["native", "gpt2"] = "native"
    overrides: dict[str, Any] = Field(default_factory=dict)
    curves: dict[str, Curve] = Field(default_factory=dict)


class Budget(Options):
    """What every training may spend: optimiser steps, or minutes of wall-clock; exactly one of them."""

    steps: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("name either steps or minutes; the other is null")
        return self


class Timing(Options):
    """How latency is measured.

    Args:
        threads: of PyTorch while the clock runs.
        samples: texts of each task.
        batch_sizes: texts at once.
        rounds: all contenders in turn, so often; the median counts.
        contents: media of each modality that the encoders are timed on; 0 leaves them out.
        train_steps: optimiser steps over which throughput is taken; 0 leaves it out.
    """

    threads: int = Field(default=2, ge=1)
    samples: int = Field(default=32, ge=1)
    batch_sizes: tuple[int, ...] = (1, 32)
    rounds: int = Field(default=3, ge=1)
    contents: int = Field(default=16, ge=0)
    train_steps: int = Field(default=12, ge=0)


class BenchOptions(Options):
    """A comparison of decoders.

    Args:
        name: of its folder in the workspace.
        base: a pipeline configuration: data, encoders, tokenizer, backbone and training of all contenders.
        workspace: overrules the base's.
        fixed: overrules keys of the base for all contenders, nested as there.
        catalogue: name -> contender.
        contenders: those of the catalogue that compete; empty: all.
        subject: the contender whose claims are checked.
        twin: the contender that all others are compared with, sample by sample.
        library: the contender that transformers builds.
        seeds: each contender is trained once with each.
        budget: of every training.
        max_samples: test items per task, the first by sample id; None takes all.
        batch_size: texts at once while quality is measured.
        timing: of latency and throughput.
        resamples: of the bootstraps.
    """

    name: str = Field(default="decoder", pattern=r"^[a-z0-9][a-z0-9-]*$")
    base: Path
    workspace: Path | None = None
    fixed: dict[str, Any] = Field(default_factory=dict)
    catalogue: dict[str, Contender] = Field(min_length=1)
    contenders: tuple[str, ...] = ()
    subject: str
    twin: str
    library: str = ""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    budget: Budget
    max_samples: int | None = Field(default=None, ge=2)
    batch_size: int = Field(default=64, ge=1)
    timing: Timing = Timing()
    resamples: int = Field(default=1000, ge=100)

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        for name in (*self.contenders, self.subject, self.twin, *filter(None, [self.library])):
            if name not in self.catalogue:
                near = difflib.get_close_matches(name, self.catalogue, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"it holds {', '.join(self.catalogue)}"
                raise ValueError(f"no contender '{name}' in the catalogue; {hint}")
        if len(set(self.contenders)) < len(self.contenders) or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a contender or a seed is named twice")
        return self

    @property
    def competing(self) -> dict[str, Contender]:
        """The contenders of this run, by name."""
        return {name: self.catalogue[name] for name in self.contenders or self.catalogue}

    def base_overrides(self) -> list[str]:
        """What is overruled in the base for all contenders, as `key.sub=value`."""
        steps, minutes = self.budget.steps or NO_STEP_LIMIT, self.budget.minutes
        budget = {"train": {"steps": steps, "max_minutes": minutes}}
        place = {} if self.workspace is None else {"workspace": str(self.workspace)}
        return [override(key, value) for values in (self.fixed, budget, place) for key, value in leaves(values)]

    def config_of(self, name: str, seed: int, sampler: dict[str, Any] | None = None) -> PipelineConfig:
        """The configuration that a contender is trained with, some options of its sampler overruled.

        Raises:
            ConfigError: its overrides and the base do not fit together.
        """
        own = {**self.catalogue[name].overrides, "seed": seed}
        overrides = [override(key, value) for key, value in leaves(own)]
        overrides += [override(f"sampler.{key}", value) for key, value in (sampler or {}).items()]
        try:
            return load_config(self.base, [*self.base_overrides(), *overrides])
        except ConfigError as error:
            raise ConfigError(f"catalogue.{name}: {error}") from error

    def points_of(self, name: str) -> dict[str, SamplerOptions]:
        """Name of each point -> the options of the sampler there; the default comes first.

        Raises:
            ConfigError: an option is unknown or its value wrong.
        """
        changes: dict[str, dict[str, Any]] = {DEFAULT: {}}
        for curve_name, curve in self.catalogue[name].curves.items():
            changes |= {point: {**curve.sampler, **varied} for point, varied in curve.points(curve_name).items()}
        return {point: self.config_of(name, self.seeds[0], sampler).sampler for point, sampler in changes.items()}


def read_bench(path: str | Path, overrides: Sequence[str] = ()) -> BenchOptions:
    """Read a comparison's file, and check that its base takes what every competing contender overrules.

    Raises:
        ConfigError: the file, its base or a contender is wrong; nothing has been done yet.
    """
    options = load_options(BenchOptions, path, overrides)
    for name in options.competing:
        options.points_of(name)
    return options
