"""The encode stage for one modality: contents that the latent store lacks go through the encoder, shard by shard."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multimodal.dataset import Dataset
from multimodal.encoders.base import Encoder
from multimodal.errors import MediaError
from multimodal.fingerprint import read_index
from multimodal.latents import CONTENTS_PER_SHARD, LatentsInfo, LatentStore, LatentWriter
from multimodal.latents.quantize import quantize
from multimodal.sample import Content, Modality

Progress = Callable[[int, int], None]
BATCHES_PER_WINDOW = 8
"""Contents are sorted by length within a window of this many batches, so that batches hold little padding."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A content after preprocessing, or what went wrong."""

    content_id: str
    inputs: Tensor | None
    problem: str = ""


def missing_contents(dataset: Dataset, modality: Modality, store_path: Path) -> list[str]:
    """Contents of a dataset that a store neither holds nor is known to fail on; needs no encoder."""
    wanted = dataset.content_ids(modality)
    if read_index(store_path) is None:
        return wanted
    store = LatentStore(store_path)
    return [content_id for content_id in wanted if content_id not in store and content_id not in store.failed]


def encode_dataset(
    dataset: Dataset,
    modality: Modality,
    encoder: Encoder,
    store_path: Path,
    progress: Progress | None = None,
    *,
    batch_size: int = 64,
    contents_per_shard: int = CONTENTS_PER_SHARD,
) -> LatentsInfo:
    """Encode the contents of one modality that the store lacks.

    A killed run goes on from its last finished shard. A content that cannot be preprocessed is noted as failed.

    Args:
        progress: called with (contents done, contents that were missing).

    Raises:
        DatasetError: the store at the path was made by another encoder.
    """
    writer = LatentWriter(
        store_path, encoder.fingerprint, encoder.hidden_size, contents_per_shard, encoder.storage,
        encoder.card.to_json(),
    )  # fmt: skip
    with writer:
        # Asked while the store is held: `latents gc` must not remove what was just found to be there.
        missing, done = missing_contents(dataset, modality, store_path), 0
        contents = dataset.contents(missing, modality) if missing else iter(())
        for window in _windows(_prepare(contents, encoder, 4 * batch_size), BATCHES_PER_WINDOW * batch_size):
            for batch in _batches(window, batch_size):
                _encode(batch, encoder, writer)
                done += len(batch)
                if progress is not None:
                    progress(done, len(missing))
    return _info(dataset, modality, store_path, len(missing))


def _prepare(contents: Iterable[Content], encoder: Encoder, lookahead: int) -> Iterator[_Prepared]:
    """Preprocess in threads, in order, at most `lookahead` contents ahead of the consumer."""
    pending: deque[Future[_Prepared]] = deque()
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="preprocess") as pool:
        for content in contents:
            pending.append(pool.submit(_prepare_one, content, encoder))
            if len(pending) >= lookahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


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


def _encode(batch: Sequence[_Prepared], encoder: Encoder, writer: LatentWriter) -> None:
    for item in batch:
        if item.inputs is None:
            writer.fail(item.content_id, item.problem)
    ready = [(item.content_id, item.inputs) for item in batch if item.inputs is not None]
    if not ready:
        return
    with torch.no_grad():
        output = encoder.encode([inputs for _, inputs in ready])
    mask = output.attention_mask
    # Quantised where the states are; only what is stored travels.
    states = quantize(output.hidden_states[mask], encoder.storage).cpu().split(mask.sum(1).tolist())
    pooled = output.pooled.float().cpu().numpy()
    readings = output.readings or [""] * len(ready)
    for (content_id, _), state, vector, reading in zip(ready, states, pooled, readings, strict=True):
        if state.is_finite and np.isfinite(vector).all():
            writer.add_quantized(content_id, state, vector, reading)
        else:
            writer.fail(content_id, f"the encoder gave NaN, infinity, or a value beyond {encoder.storage}")


def _info(dataset: Dataset, modality: Modality, store_path: Path, encoded: int) -> LatentsInfo:
    store, wanted = LatentStore(store_path), dataset.content_ids(modality)
    failed = tuple(content_id for content_id in wanted if content_id in store.failed)
    count = sum(content_id in store for content_id in wanted)
    return LatentsInfo(modality, store_path, store.encoder_fingerprint, store.hidden_size, count, failed, encoded)
