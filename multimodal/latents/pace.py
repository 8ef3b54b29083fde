"""How fast an encode was, and what held it up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    """What the time of an encode goes into; `wait` is that of the model for its inputs."""

    DECODE = "decode"
    PREPROCESS = "preprocess"
    MODEL = "model"
    WRITE = "write"
    WAIT = "wait"


class StepSeconds(defaultdict[str, float]):
    """Seconds by `Step`, zero where nothing was added."""

    def __init__(self, *known: Mapping[str, float]) -> None:
        super().__init__(float)
        for seconds in known:
            self.add(seconds)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add those of another, step by step."""
        for step, more in seconds.items():
            self[step] += more


@dataclass(frozen=True, slots=True)
class Pace:
    """The course of one encode.

    Args:
        contents: that were encoded or refused.
        seconds: on the clock, from the first content read to the last shard written.
        steps: seconds by `Step`, summed over all that did it: processor time of the decoders, clock time of the rest.
        decoders: threads or processes that decoded side by side.
        encoders: models that ran side by side.
        batch_size: contents encoded at once, at the end.
    """

    contents: int
    seconds: float
    steps: Mapping[str, float]
    decoders: int = 1
    encoders: int = 1
    batch_size: int = 0

    @property
    def per_second(self) -> float:
        """Contents a second."""
        return self.contents / self.seconds if self.seconds > 0 else 0.0

    @property
    def model_share(self) -> float:
        """Share of the time in which the model ran."""
        return min(1.0, self._of(Step.MODEL) / self.encoders / self.seconds) if self.seconds > 0 else 0.0

    @property
    def bottleneck(self) -> Step:
        """The step that would take longest with all others free: what to give more workers, or less work."""
        alone = {Step.MODEL: self._of(Step.MODEL) / self.encoders, Step.WRITE: self._of(Step.WRITE)}
        # One set of workers does both: together they may be what the model waits for.
        prepare = (Step.DECODE, Step.PREPROCESS)
        alone[max(prepare, key=self._of)] = sum(map(self._of, prepare)) / self.decoders
        return max(alone, key=lambda step: alone[step])

    @property
    def line(self) -> str:
        """For people."""
        return f"{self.per_second:,.0f}/s, {self.model_share:.0%} in the model, held up by {self.bottleneck}"

    def _of(self, step: Step) -> float:
        return self.steps.get(step, 0.0)
