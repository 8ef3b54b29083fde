"""The main score of a task on parts of its samples: by speaker, picture, source, length, noise and style."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from multimodal.evaluation.error_rates import cer
from multimodal.evaluation.items import Item
from multimodal.evaluation.sufficient import Sufficient
from multimodal.sample import Modality, Task

if TYPE_CHECKING:
    from multimodal.dataset import Dataset

NEW_PAIRS = "pairs never seen in training"
SEEN, UNSEEN = "voices heard in training", "voices never heard in training"
MIN_SLICE = 20
"""Samples that a slice needs to be called the worst: with fewer, chance names it."""

_LENGTHS = (1, 6, 11, 21)  # words of the shortest text of each bucket
_NOISES = (0.0, 0.02, 0.05, 0.1, 0.2)  # character error rates that each bucket starts at
_WIDE = 1.2  # width over height of a picture that is wide


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


def slice_names(
    items: Sequence[Item], train: Sequence[Item], shapes: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """The slices of each item of one task: dimension -> name.

    Args:
        items: what is evaluated.
        train: all train items of the task: it tells what was seen.
        shapes: content id -> what shape its picture has, for pictures whose scene is not described.
    """
    slicers, named = _slicers(train, shapes or {}), []
    for item in items:
        names = {dimension: slicer(item) for dimension, slicer in slicers.items()}
        named.append({dimension: name for dimension, name in names.items() if name})
    return named


def slice_scores(task: Task, metric: str, statistics: Sufficient, names: Sequence[Mapping[str, str]]) -> list[Slice]:
    """The metric on every slice of one task's samples that is neither empty nor everything.

    What a metric takes from the whole split, as CIDEr-D its document frequencies, stays that of the whole split.

    Args:
        task: of all samples.
        metric: name of the task's main metric.
        statistics: of that metric, one row per sample.
        names: of `slice_names`.
    """
    parts: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, named in enumerate(names):
        for dimension, name in named.items():
            parts[name, dimension].append(index)
    return [
        Slice(task, metric, name, statistics.value_of(indices), len(indices), dimension)
        for (name, dimension), indices in sorted(parts.items())
        if len(indices) < len(names)
    ]


def worst_slice(slices: Sequence[Slice], higher_is_better: bool, at_least: int = MIN_SLICE) -> Slice | None:
    """The slice with the worst score among those of at least so many samples, None where there is none."""
    large = [part for part in slices if part.count >= at_least]
    return (min if higher_is_better else max)(large, key=lambda part: part.value, default=None)


def picture_shapes(items: Sequence[Item], dataset: Dataset) -> dict[str, str]:
    """Content id -> whether a picture is tall, wide or about square; of pictures whose scene is not described."""
    ids = [item.content_id for item in items if item.task is Task.CAPTION and item.scene is None]
    if not ids:
        return {}
    return {content.content_id: _shape(content.data) for content in dataset.contents(ids, Modality.IMAGE)}


def _shape(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:  # reads the header alone
        ratio = image.width / image.height
    return "wide picture" if ratio > _WIDE else "tall picture" if ratio < 1 / _WIDE else "square picture"


def _slicers(train: Sequence[Item], shapes: Mapping[str, str]) -> dict[str, Callable[[Item], str]]:
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

    def shape(item: Item) -> str:
        return shapes.get(item.content_id, "") if item.task is Task.CAPTION else ""

    return {
        "voice heard": seen,
        "speaker": voice,
        "pairs seen": new_pair,
        "objects": _object_count,
        "background": _background,
        "picture": shape,
        "style": _style,
        "source": _source,
        "length": _length,
        "noise": _noise,
    }


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


def _background(item: Item) -> str:
    scene = item.scene
    background = scene.get("background") if isinstance(scene, Mapping) else None
    return f"background {background}" if background else ""


def _length(item: Item) -> str:
    count = max(1, len(item.text.split()))
    first = next(low for low in reversed(_LENGTHS) if count >= low)
    later = [low for low in _LENGTHS if low > first]
    return f"{first} to {later[0] - 1} words" if later else f"{first} words or more"


def _noise(item: Item) -> str:
    """How noisy a text to be cleaned is: the character error rate of the input."""
    if item.task is not Task.DENOISE:
        return ""
    rate = cer([item.input], [item.references[0]]).value
    first = next(low for low in reversed(_NOISES) if rate >= low)
    later = [low for low in _NOISES if low > first]
    return f"noise {first:.0%} to {later[0]:.0%}" if later else f"noise {first:.0%} or more"
