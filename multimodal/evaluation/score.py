"""What a metric returns, and what the report shows: a score beside the controls that it has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from multimodal.sample import Task

CONTROLS = ("constant", "nearest", "shuffled", "null")
"""The controls beside every score; `multimodal.evaluation.controls` says how each is made."""


@dataclass(frozen=True, slots=True)
class Score:
    """One number with what it was computed from.

    Args:
        name: name of the metric, e.g. `wer`.
        value: the score, a ratio of sums over the corpus unless the metric's definition says otherwise.
        counts: what the value was computed from (edits, matches, samples).
        signature: how it was computed: implementation, version, tokeniser.
    """

    name: str
    value: float
    counts: Mapping[str, float]
    signature: str


@dataclass(frozen=True, slots=True)
class TaskScore:
    """A score of one task with its controls, all by the same metric on the same samples.

    Args:
        task: what was written.
        metric: name of the metric, a key of `multimodal.evaluation.metrics.METRICS`.
        value: the model's score.
        constant: score of the best constant answer found in the train split.
        nearest: score of the train text whose content is nearest to the sample's.
        shuffled: score of the same model given the conditions of other samples.
        higher_is_better: direction of the metric.
        counts: what `value` was computed from.
        signature: how it was computed.
        copied: score of the unchanged input, for tasks from text to text; else None.
        must_beat: the controls that say something about this metric; usually all.
        null: score of the same model with its condition dropped; None where it was not computed (old results).
        interval: 95 % bootstrap interval of `value` over samples, in its unit; None where the metric has none.
    """

    task: Task
    metric: str
    value: float
    constant: float
    nearest: float
    shuffled: float
    higher_is_better: bool
    counts: Mapping[str, float]
    signature: str
    copied: float | None = None
    must_beat: tuple[str, ...] = CONTROLS
    null: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def controls(self) -> dict[str, float]:
        """The controls that were computed, by name."""
        values = {name: getattr(self, name) for name in CONTROLS}
        return {name: value for name, value in values.items() if value is not None}

    def beats(self, control: str) -> bool:
        """Whether the model's score is strictly better than the named control's; true of one not computed."""
        other = self.controls.get(control)
        if other is None:
            return True
        return self.value > other if self.higher_is_better else self.value < other

    @property
    def beats_controls(self) -> bool:
        """Whether the model's score is strictly better than every control in `must_beat`."""
        return all(self.beats(control) for control in self.must_beat)

    @property
    def conditioning_gap(self) -> float:
        """How much better the score is than with shuffled conditions; at or below 0 the input is not looked at."""
        return self.value - self.shuffled if self.higher_is_better else self.shuffled - self.value

    def to_json(self) -> dict[str, Any]:
        """All fields and the two verdicts, as JSON values."""
        return asdict(self) | {"beats_controls": self.beats_controls, "conditioning_gap": self.conditioning_gap}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TaskScore:
        """The inverse of `to_json`; results of older versions lack `null` and `interval`."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        low_high = values.get("interval")
        read = {"task": Task(values["task"]), "must_beat": tuple(values["must_beat"])}
        return cls(**(known | read | {"interval": low_high and (float(low_high[0]), float(low_high[1]))}))
