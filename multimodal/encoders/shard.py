"""The shard function: the contents of a shard and an encoder -> a finished shard, with its failures.

`ShardEncoder` is that function, with the threads that it prepares contents in. It reads and writes nothing, so that
every runner may call it: the encode stage's own loop, worker processes, actors on other machines.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Self

import torch
from torch import Tensor

from multimodal.encoders.base import Encoder
from multimodal.errors import MediaError
from multimodal.latents import FinishedShard
from multimodal.latents.finished import finish_shard
from multimodal.latents.quantize import quantize
from multimodal.latents.shards import LatentRows
from multimodal.sample import Content

BATCHES_PER_WINDOW = 8
"""Contents are sorted by length within a window of this many batches, so that batches hold little padding."""

Done = Callable[[int], None]
"""Called with how many contents were just encoded or refused."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A content after preprocessing, or what went wrong."""

    content_id: str
    inputs: Tensor | None
    problem: str = ""


class ShardEncoder:
    """Encodes shards, one after the other, and prepares the next while one is encoded.

    A shard is a function of its contents, the encoder and the batch size: whoever encodes it again gets the same bytes.

    Args:
        encoder: on the device where it is to run.
        batch_size: contents encoded at once.
    """

    def __init__(self, encoder: Encoder, *, batch_size: int = 64) -> None:
        self.encoder, self.batch_size = encoder, batch_size
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="preprocess")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __call__(self, contents: Sequence[Content], done: Done | None = None) -> FinishedShard:
        """The finished shard of some contents; a content that cannot be decoded or encoded is among its `failed`."""
        return next(self.stream([contents], done), FinishedShard())

    def stream(self, shards: Iterable[Sequence[Content]], done: Done | None = None) -> Iterator[FinishedShard]:
        """The same for many shards, in order, but for those without contents; prepares across their borders."""
        sizes: deque[int] = deque()

        def counted() -> Iterator[Sequence[Content]]:
            for contents in filter(len, shards):
                sizes.append(len(contents))
                yield contents

        prepared = self._prepare(chain.from_iterable(counted()))
        # The first content of a shard has been asked for, and its size noted, before it comes out.
        while first := list(islice(prepared, 1)):
            yield self._finish(chain(first, islice(prepared, sizes.popleft() - 1)), done)

    def _prepare(self, contents: Iterable[Content]) -> Iterator[_Prepared]:
        """In order, at most four batches ahead of the consumer."""
        pending: deque[Future[_Prepared]] = deque()
        try:
            for content in contents:
                pending.append(self._pool.submit(_prepare_one, content, self.encoder))
                if len(pending) >= 4 * self.batch_size:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _finish(self, prepared: Iterator[_Prepared], done: Done | None) -> FinishedShard:
        parts: list[LatentRows] = []
        failed: dict[str, str] = {}
        for window in _windows(prepared, BATCHES_PER_WINDOW * self.batch_size):
            for batch in _batches(window, self.batch_size):
                failed |= {item.content_id: item.problem for item in batch if item.inputs is None}
                ready = [(item.content_id, item.inputs) for item in batch if item.inputs is not None]
                if ready:
                    part, refused = encode_batch(ready, self.encoder)
                    parts.append(part)
                    failed |= refused
                if done is not None:
                    done(len(batch))
        return finish_shard(parts, self.encoder.storage, failed)


def encode_batch(batch: Sequence[tuple[str, Tensor]], encoder: Encoder) -> tuple[LatentRows, dict[str, str]]:
    """What is stored of one batch of (content id, prepared inputs), and why some are not."""
    with torch.no_grad():
        output = encoder.encode([inputs for _, inputs in batch])
    mask = output.attention_mask
    # Quantised where the states are; only what is stored travels.
    states = quantize(output.hidden_states[mask], encoder.storage).cpu()
    pooled = output.pooled.float().cpu()
    ids, lengths = [content_id for content_id, _ in batch], mask.sum(1).tolist()
    rows = LatentRows(ids, lengths, states, pooled.numpy(), list(output.readings) or [""] * len(ids))
    if states.is_finite and bool(pooled.isfinite().all()):
        return rows, {}
    return _finite_only(rows, encoder)


def _finite_only(rows: LatentRows, encoder: Encoder) -> tuple[LatentRows, dict[str, str]]:
    states = rows.states.split(rows.lengths)
    pooled = torch.from_numpy(rows.pooled).isfinite().all(1).tolist()
    kept = [number for number, state in enumerate(states) if state.is_finite and pooled[number]]
    problem = f"the encoder gave NaN, infinity, or a value beyond {encoder.storage}"
    failed = {content_id: problem for number, content_id in enumerate(rows.content_ids) if number not in set(kept)}
    return rows.take(kept), failed


def _prepare_one(content: Content, encoder: Encoder) -> _Prepared:
    try:
        return _Prepared(content.content_id, encoder.preprocess(content.data))
    except MediaError as error:
        return _Prepared(content.content_id, None, str(error))


def _windows(prepared: Iterator[_Prepared], size: int) -> Iterator[list[_Prepared]]:
    while window := list(islice(prepared, size)):
        yield window


def _batches(window: Sequence[_Prepared], batch_size: int) -> Iterator[list[_Prepared]]:
    ordered = sorted(window, key=lambda item: 0 if item.inputs is None else item.inputs.numel())
    for start in range(0, len(ordered), batch_size):
        yield ordered[start : start + batch_size]
