"""Lets the model write: items become requests, requests become texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from multimodal.errors import RequestError
from multimodal.evaluation.controls import Pooled
from multimodal.evaluation.items import Item
from multimodal.generation import Generation, Request
from multimodal.sample import Modality, Task
from multimodal.tasks import EDITING, GAP
from multimodal.training.options import SamplerOptions


class Generator(Protocol):
    """What evaluation needs of `multimodal.generation.TextGenerator`."""

    def generate(
        self, requests: Sequence[Request], options: SamplerOptions, trajectory: bool = False
    ) -> list[Generation]:
        """One text for each request, in their order."""


class Store(Pooled, Protocol):
    """What evaluation needs of `multimodal.latents.LatentStore`."""

    def __contains__(self, content_id: object) -> bool:
        """Whether the content is encoded."""

    def get(self, content_id: str) -> np.ndarray:
        """Hidden states [n, d]."""

    def reading(self, content_id: str) -> str:
        """The text that the encoder itself reads off the content, "" if none."""


Stores = Mapping[Modality, Store]


def build_request(item: Item, stores: Stores) -> Request:
    """The request that asks for an item's text: latents of its content, or the text with its gap."""
    pictures = stores.get(Modality.IMAGE)
    picture = pictures.get(item.picture) if pictures and item.picture in pictures else None
    request = Request(item.sample_id, item.task, text=item.input, style=item.style, hint=item.hint, picture=picture)
    if item.task is Task.INFILL:
        return request
    store = stores[item.task.modality]
    text = item.input if item.task in EDITING else store.reading(item.content_id)
    pooled = store.pooled(item.content_id)
    return replace(request, hidden_states=store.get(item.content_id), text=text, pooled=pooled)


def write_texts(
    generator: Generator,
    items: Sequence[Item],
    stores: Stores,
    options: SamplerOptions,
    batch_size: int,
    wrote: Callable[[int], None] | None = None,
) -> list[Generation | None]:
    """A generation for each item, None where the model refuses the request (too long, a style it does not know).

    Args:
        generator: the model.
        items: of any tasks.
        stores: latents by modality.
        options: of the sampler.
        batch_size: requests at once.
        wrote: told the number of texts after each batch.
    """
    written: list[Generation | None] = []
    for start in range(0, len(items), batch_size):
        requests = [build_request(item, stores) for item in items[start : start + batch_size]]
        written += _write_batch(generator, requests, options)
        if wrote:
            wrote(len(requests))
    return written


def _write_batch(generator: Generator, requests: Sequence[Request], options: SamplerOptions) -> list[Generation | None]:
    try:
        return [*generator.generate(requests, options)]
    except RequestError:
        if len(requests) == 1:
            return [None]
        half = len(requests) // 2
        return [
            *_write_batch(generator, requests[:half], options),
            *_write_batch(generator, requests[half:], options),
        ]


def write_null(
    generator: Generator, task: Task, count: int, options: SamplerOptions, most: int, batch_size: int
) -> list[str]:
    """What the model writes for a task without its condition, for each of `count` items.

    Latents and style are replaced by the learned null condition; infill gets a gap and no words around it. Such a text
    knows nothing of any item, so that one that was drawn for one item is as good a draw for another: at most `most`
    are written, one where the sampler is deterministic, and given again in turn.

    Args:
        generator: the model.
        task: what is written.
        count: how many texts are wanted.
        options: of the sampler.
        most: texts that are written.
        batch_size: requests at once.
    """
    draws = min(most, count) if options.temperature else 1
    text = GAP if task is Task.INFILL else ""
    requests = [Request(request_id=f"null-{index}", task=task, text=text) for index in range(draws)]
    written: list[Generation | None] = []
    for start in range(0, draws, batch_size):
        written += _write_batch(generator, requests[start : start + batch_size], options)
    texts = [_scored_text(task, generation) for generation in written]
    return [texts[index % draws] for index in range(count)]


def answer(item: Item, generation: Generation | None) -> str:
    """The text that is scored: of infill the filled words, of a refused request nothing."""
    return _scored_text(item.task, generation)


def _scored_text(task: Task, generation: Generation | None) -> str:
    if generation is None:
        return ""
    return " ".join(generation.filled) if task is Task.INFILL else generation.text
