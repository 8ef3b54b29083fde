"""What every metric of a task is: a class that scores one hypothesis per item."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from multimodal.evaluation.items import Item
from multimodal.evaluation.score import CONTROLS, Score


class Metric(ABC):
    """Scores hypotheses of the items of one task.

    Attributes:
        name: key in `METRICS`, in report.json and in MLflow.
        title: what the report calls it.
        meaning: one line for the reader of the report.
        percent: shown as a percentage.
        higher_is_better: direction.
        must_beat: controls that say something about this metric; empty for diagnostic rows, which no model has to win.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    meaning: ClassVar[str]
    percent: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    must_beat: ClassVar[tuple[str, ...]] = CONTROLS

    @abstractmethod
    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """The score of one hypothesis per item."""

    @classmethod
    def shown(cls, value: float) -> str:
        """A value as the report prints it."""
        return f"{100 * value:.1f}\u202f%" if cls.percent else f"{value:.3f}"


def references_of(items: Sequence[Item]) -> list[tuple[str, ...]]:
    """All references of each item."""
    return [item.references for item in items]


def first_references(items: Sequence[Item]) -> list[str]:
    """The first reference of each item."""
    return [item.references[0] for item in items]


def inputs_of(items: Sequence[Item]) -> list[str]:
    """The text that each item conditions on."""
    return [item.input for item in items]
