"""The main score of a task on parts of its samples: voices heard and unheard, pairs of colour and shape, sources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics import Metric
from multimodal.sample import Task

NEW_PAIRS = "pairs never seen in training"
SEEN, UNSEEN = "voices heard in training", "voices never heard in training"


@dataclass(frozen=True, slots=True)
class Slice:
    """A task's score on a part of its samples.

    Args:
        name: what the part's samples share, e.g. `voice en-us`.
        value: the score by `metric` on them.
        count: how many they are.
        dimension: what they are told apart by: `speaker`, `source`, `length` ...
    """

    task: Task
    metric: str
    name: str
    value: float
    count: int
    dimension: str = ""

    def to_json(self) -> dict[str, object]:
        """As report.json names a worst slice."""
        return {"slice": self.name, "metric": self.metric, "value": self.value, "samples": self.count}


def slice_scores(
    items: Sequence[Item], hypotheses: Sequence[str], metric: Metric, train: Sequence[Item]
) -> list[Slice]:
    """The metric on every slice of one task's items that is neither empty nor everything."""
    parts: dict[str, list[int]] = defaultdict(list)
    for name_of in _slicers(train):
        for index, item in enumerate(items):
            if name := name_of(item):
                parts[name].append(index)
    return [
        _score(items, hypotheses, metric, name, indices)
        for name, indices in sorted(parts.items())
        if len(indices) < len(items)
    ]


def _slicers(train: Sequence[Item]) -> tuple[Callable[[Item], str], ...]:
    heard = {item.speaker for item in train}

    def seen(item: Item) -> str:
        return "" if not item.speaker else SEEN if item.speaker in heard else UNSEEN

    def voice(item: Item) -> str:
        if not item.speaker:
            return ""
        return f"voice {item.speaker}" + ("" if item.speaker in heard else " (unseen)")

    shown = {pair for item in train for pair in _pairs(item)}

    def new_pair(item: Item) -> str:
        return NEW_PAIRS if _pairs(item) - shown else ""

    return seen, voice, new_pair, _object_count, _style, _source


def _pairs(item: Item) -> set[tuple[str, str]]:
    """(colour, shape) of each object of a described scene."""
    return {(str(thing.get("colour")), str(thing.get("shape"))) for thing in _objects(item)}


def _objects(item: Item) -> list[Mapping[str, object]]:
    scene = item.scene
    objects = scene.get("objects") if isinstance(scene, Mapping) else None
    return [thing for thing in objects or () if isinstance(thing, Mapping)]


def _object_count(item: Item) -> str:
    count = len(_objects(item))
    return f"{count} object{'s' if count > 1 else ''}" if count else ""


def _style(item: Item) -> str:
    return f"to {item.style}" if item.style else ""


def _source(item: Item) -> str:
    return f"source {item.source}" if item.source else ""


def _score(
    items: Sequence[Item], hypotheses: Sequence[str], metric: Metric, name: str, indices: Sequence[int]
) -> Slice:
    score = metric.score([items[index] for index in indices], [hypotheses[index] for index in indices])
    return Slice(items[0].task, metric.name, name, score.value, len(indices))
