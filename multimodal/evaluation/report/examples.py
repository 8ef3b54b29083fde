"""Every sample of an evaluation as the gallery reads it: texts, confidences, slices, and media while there is room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rapidfuzz.distance import Levenshtein

from multimodal.data_uris import picture_uri, sound_uri
from multimodal.evaluation.captions import cider_d_of_each
from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics import SceneExact
from multimodal.evaluation.report.inputs import ReportInputs
from multimodal.evaluation.task_results import TaskResult
from multimodal.generation import Generation
from multimodal.sample import CAPTIONS, Modality

MEDIA_BYTES = 16 * 10**6  # of the page, for all media together: with 5,000 texts it stays below 25 MB
_FEW_PICTURES, _SMALL_SIDE = 1000, 112  # beyond so many pictures each is shown with so many pixels a side
_FIRST = 12  # samples of a kind (worst, best, first) that get their media before all others


def gallery_task(result: TaskResult, inputs: ReportInputs, media_bytes: int) -> dict[str, Any]:
    """The samples of one task as JSON values, for the page's script.

    Args:
        result: of the task.
        inputs: of the report.
        media_bytes: how much of the page its pictures and sounds may take.
    """
    qualities = sample_qualities(result)
    slices = [part.name for part in result.slices]
    number_of = {name: number for number, name in enumerate(slices)}
    names = result.slice_names or [()] * len(result.items)
    parts = [[number_of[name] for name in own if name in number_of] for own in names]
    media = task_media(result, qualities, inputs, media_bytes)
    return {
        "kind": str(result.task.modality),
        "page": inputs.options.gallery,
        "slices": slices,
        "examples": [_example(result, i, qualities[i], parts[i], media) for i in range(len(result.items))],
    }


def _example(
    result: TaskResult, index: int, quality: float, slices: list[int], media: Mapping[str, str]
) -> dict[str, Any]:
    item, generation, answers = result.items[index], result.generations[index], result.answers
    shown = media.get(item.content_id) if result.task.modality is not Modality.TEXT else None
    values = {
        "id": item.sample_id,
        "text": answers.model[index],
        "tokens": token_pairs(generation),
        "sure": round(generation.confidence, 3) if generation else None,
        "right": is_right(item, answers.model[index]),
        "quality": round(quality, 4),
        "references": list(item.references),
        "input": item.input,
        "style": item.style,
        "speaker": item.speaker,
        "nearest": answers.nearest[index],
        "shuffled": answers.shuffled[index],
        "slices": slices,
        "media": shown,
    }
    return {name: value for name, value in values.items() if value not in ("", None, [])}


def token_pairs(generation: Generation | None) -> list[tuple[str, float]]:
    """Each token of a text with the model's confidence in it, 0 to 1."""
    if generation is None:
        return []
    pairs = zip(generation.tokens, generation.confidences, strict=True)
    return [(text, round(min(1.0, max(0.0, confidence)), 3)) for text, confidence in pairs]


def is_right(item: Item, hypothesis: str) -> bool | None:
    """Whether a hypothesis equals a reference or holds of the scene; captions of photographs can be right otherwise."""
    if item.scene is not None:
        return SceneExact().score([item], [hypothesis]).value == 1
    return hypothesis in item.references or (None if item.task in CAPTIONS else False)


def sample_qualities(result: TaskResult) -> list[float]:
    """How good each sample is, by which the page finds the worst and the best; more is better.

    Of captions CIDEr-D (scenes described rightly stand before all others), else the similarity of characters with
    the nearest reference, 0 to 1.
    """
    items, hypotheses = result.items, result.answers.model
    if result.task not in CAPTIONS:
        return [_similarity(text, item.references) for item, text in zip(items, hypotheses, strict=True)]
    values = cider_d_of_each(hypotheses, [item.references for item in items])
    right = [
        item.scene is not None and bool(is_right(item, text)) for item, text in zip(items, hypotheses, strict=True)
    ]
    return [float(value) + 10 * is_exact for value, is_exact in zip(values, right, strict=True)]


def _similarity(hypothesis: str, references: Sequence[str]) -> float:
    return max(Levenshtein.normalized_similarity(hypothesis, reference) for reference in references)


def task_media(result: TaskResult, qualities: Sequence[float], inputs: ReportInputs, most_bytes: int) -> dict[str, str]:
    """Media by content id as data URIs, until `most_bytes` are full: the worst, best and first samples, then the rest.

    The rest goes in the order of the dataset, so that no more of it is read than fits.
    """
    if result.task.modality is Modality.TEXT:
        return {}
    order = sorted(range(len(result.items)), key=lambda index: qualities[index])
    first = [*range(max(_FIRST, inputs.options.trajectories)), *order[:_FIRST], *order[-_FIRST:]]
    urgent = {result.items[index].content_id for index in first if index < len(result.items)}
    rest = {item.content_id for item in result.items} - urgent
    side = 256 if len(result.items) <= _FEW_PICTURES else _SMALL_SIDE
    chosen: dict[str, str] = {}
    for content_id, uri in _uris(urgent, rest, result.task.modality, inputs, side):
        most_bytes -= len(uri)
        if most_bytes < 0:
            break
        chosen[content_id] = uri
    return chosen


def _uris(
    urgent: set[str], rest: set[str], modality: Modality, inputs: ReportInputs, side: int
) -> Iterator[tuple[str, str]]:
    for wanted in (urgent, rest):
        for content in inputs.dataset.contents(wanted, modality):
            uri = picture_uri(content.data, side) if modality is Modality.IMAGE else sound_uri(content.data)
            yield content.content_id, uri
