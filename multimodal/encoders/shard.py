"""The shard function: the contents of a shard and an encoder -> a finished shard, with its failures.

`ShardEncoder` is that function, with the workers that it prepares contents in. It reads and writes nothing, so that
every runner may call it: the encode stage's own loop, worker processes, actors on other machines.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Self

import torch
from torch import Tensor

from multimodal.encoders.base import Encoder
from multimodal.encoders.preparing import Prepared, Preparer
from multimodal.encoders.transfer import PinnedBuffers, one_ahead
from multimodal.latents import FinishedShard
from multimodal.latents.finished import finish_shard
from multimodal.latents.pace import Step, StepSeconds
from multimodal.latents.quantize import quantize
from multimodal.latents.shards import LatentRows
from multimodal.sample import Content
from multimodal.storage import Storage

BATCHES_PER_WINDOW = 8
WINDOW_BYTES = 64 * 2**20
"""Contents are sorted by length within a window of this many batches or bytes, so that batches hold little padding."""

Done = Callable[[int], None]
"""Called with how many contents were just encoded or refused."""


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """How shards are encoded; nothing of it changes the latents by more than `TOLERANCE`.

    Args:
        batch_size: contents encoded at once; halved whenever memory runs out.
        decode_workers: threads or processes that decode; 0: one per core, at most four threads or eight processes.
        decode_in_processes: decode in processes instead of threads.
    """

    batch_size: int = 64
    decode_workers: int = 0
    decode_in_processes: bool = False

    @property
    def workers(self) -> int:
        """Threads or processes that decode."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.decode_workers or min(8 if self.decode_in_processes else 4, cores)


TOLERANCE = {"float32": 1e-3, "bfloat16": 3e-2}
"""By precision: how far the states of one content, computed twice in different batches, may lie apart: the L2 norm of
the difference over that of the states, all tokens of the content together, before they are stored."""


@dataclass(slots=True)
class EncodedShard:
    """A shard whose latents are in memory; `finish` makes its file, in whatever thread calls it."""

    storage: Storage
    parts: list[LatentRows] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: StepSeconds = field(default_factory=StepSeconds)

    def finish(self) -> FinishedShard:
        """The bytes that the store keeps."""
        return finish_shard(self.parts, self.storage, self.failed, dict(self.seconds))


class ShardEncoder:
    """Encodes shards, one after the other, and prepares the next while one is encoded.

    A shard is a function of its contents, the encoder and the batch size: whoever encodes it again gets the same bytes.

    Args:
        encoder: on the device where it is to run.
        options: how.

    Attributes:
        batch_size: as the options say, or what memory was found to allow.
    """

    def __init__(self, encoder: Encoder, options: ShardOptions | None = None) -> None:
        self.encoder, self.options = encoder, options or ShardOptions()
        self.batch_size = self.options.batch_size
        self._preparer = Preparer(encoder, self.options.workers, self.options.decode_in_processes)
        self._input_bytes = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        self._preparer.close()

    def __call__(self, contents: Sequence[Content], done: Done | None = None) -> FinishedShard:
        """The finished shard of some contents; a content that cannot be decoded or encoded is among its `failed`."""
        with closing(self.stream([contents], done)) as shards:
            return next((shard.finish() for shard in shards), FinishedShard())

    def stream(
        self, shards: Iterable[Sequence[Content]], done: Done | None = None
    ) -> Generator[EncodedShard, None, None]:
        """The same for many shards, in order, but for those without contents; prepares across their borders."""
        device = getattr(self.encoder, "device", torch.device("cpu"))
        buffers = PinnedBuffers(device) if device.type == "cuda" else None
        batches = self._batches(shards)
        if buffers is not None:
            batches = one_ahead(map(_uploaded(buffers), batches))
        encoded, waited_since = EncodedShard(self.encoder.storage), time.perf_counter()
        with closing(batches):
            for batch in batches:
                if batch is None:
                    yield encoded
                    encoded, waited_since = EncodedShard(self.encoder.storage), time.perf_counter()
                    continue
                encoded.seconds[Step.WAIT] += time.perf_counter() - waited_since
                if buffers is not None:
                    buffers.arrive([item.inputs for item in batch if item.inputs is not None])
                self._encode(batch, encoded)
                if done is not None:
                    done(len(batch))
                waited_since = time.perf_counter()

    def _batches(self, shards: Iterable[Sequence[Content]]) -> Generator[list[Prepared] | None, None, None]:
        """Batches of all shards; None after the last of each."""
        sizes: deque[int] = deque()

        def counted() -> Iterator[Sequence[Content]]:
            for contents in filter(len, shards):
                sizes.append(len(contents))
                yield contents

        prepared = self._preparer.prepare(chain.from_iterable(counted()), self._ahead)
        with closing(prepared):
            # The first content of a shard has been asked for, and its size noted, before it comes out.
            while first := list(islice(prepared, 1)):
                rest = chain(first, islice(prepared, sizes.popleft() - 1))
                while window := self._window(rest):
                    yield from self._cut(window)
                yield None

    def _ahead(self) -> int:
        """How many contents are prepared ahead: two windows."""
        return max(2 * self.batch_size, min(2 * BATCHES_PER_WINDOW * self.batch_size, self._in_window()))

    def _in_window(self) -> int:
        return 2 * WINDOW_BYTES // self._input_bytes

    def _window(self, prepared: Iterator[Prepared]) -> list[Prepared]:
        """Contents to be sorted together: one batch, where its contents are all of one length."""
        window: list[Prepared] = []
        held = 0
        for item in prepared:
            window.append(item)
            if item.inputs is not None:
                held += item.inputs.nbytes
                self._input_bytes = max(self._input_bytes, item.inputs.nbytes)
            if len(window) % self.batch_size == 0:
                full = len(window) >= BATCHES_PER_WINDOW * self.batch_size or held >= WINDOW_BYTES
                if full or len({item.inputs.shape for item in window if item.inputs is not None}) < 2:
                    break
        return window

    def _cut(self, window: Sequence[Prepared]) -> Iterator[list[Prepared]]:
        ordered = sorted(window, key=lambda item: 0 if item.inputs is None else item.inputs.numel())
        for start in range(0, len(ordered), size := self.batch_size):
            yield ordered[start : start + size]

    def _encode(self, batch: Sequence[Prepared], encoded: EncodedShard) -> None:
        encoded.failed |= {item.content_id: item.problem for item in batch if item.inputs is None}
        encoded.seconds[Step.DECODE] += sum(item.decode_seconds for item in batch)
        encoded.seconds[Step.PREPROCESS] += sum(item.transform_seconds for item in batch)
        ready = [(item.content_id, item.inputs) for item in batch if item.inputs is not None]
        while ready:
            part = ready[: self.batch_size]
            if self._encode_part(part, encoded):
                del ready[: len(part)]
            else:  # here and not where the error is caught, whose frames still hold what did not fit
                self.batch_size = (len(part) + 1) // 2
                release_memory()

    def _encode_part(self, part: Sequence[tuple[str, Tensor]], encoded: EncodedShard) -> bool:
        """Encode a batch; False where memory does not allow it as a whole."""
        started = time.perf_counter()
        try:
            rows, refused = encode_batch(part, self.encoder)
        except Exception as error:
            if len(part) == 1 or not is_out_of_memory(error):
                raise
            return False
        encoded.parts.append(rows)
        encoded.failed |= refused
        encoded.seconds[Step.MODEL] += time.perf_counter() - started
        return True


def encode_batch(batch: Sequence[tuple[str, Tensor]], encoder: Encoder) -> tuple[LatentRows, dict[str, str]]:
    """What is stored of one batch of (content id, prepared inputs), and why some are not."""
    output = encoder([inputs for _, inputs in batch])
    mask, padded = output.attention_mask, output.hidden_states
    # Quantised where the states are; only what is stored travels. Without padding there is nothing to pick.
    states = quantize(padded.flatten(0, 1) if bool(mask.all()) else padded[mask], encoder.storage).cpu()
    pooled = output.pooled.float().cpu()
    ids, lengths = [content_id for content_id, _ in batch], mask.sum(1).tolist()
    rows = LatentRows(ids, lengths, states, pooled.numpy(), list(output.readings) or [""] * len(ids))
    if states.is_finite and bool(pooled.isfinite().all()):
        return rows, {}
    return _finite_only(rows, encoder)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, on a GPU or on the computer."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("can't allocate memory", "out of memory", "could not create a memory", "failed to allocate")
    return isinstance(error, RuntimeError) and any(each in str(error).lower() for each in words)


def release_memory() -> None:
    """Give back what the GPU's allocator keeps of a failed attempt."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _finite_only(rows: LatentRows, encoder: Encoder) -> tuple[LatentRows, dict[str, str]]:
    states = rows.states.split(rows.lengths)
    pooled = torch.from_numpy(rows.pooled).isfinite().all(1).tolist()
    kept = [number for number, state in enumerate(states) if state.is_finite and pooled[number]]
    problem = f"the encoder gave NaN, infinity, or a value beyond {encoder.storage}"
    failed = {content_id: problem for number, content_id in enumerate(rows.content_ids) if number not in set(kept)}
    return rows.take(kept), failed


def _uploaded(buffers: PinnedBuffers) -> Callable[[list[Prepared] | None], list[Prepared] | None]:
    def upload(batch: list[Prepared] | None) -> list[Prepared] | None:
        if batch is None:
            return None
        there = iter(buffers.upload([item.inputs for item in batch if item.inputs is not None]))
        return [item.moved(next(there)) if item.inputs is not None else item for item in batch]

    return upload
