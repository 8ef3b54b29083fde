"""Contents before the model: decoded and transformed in threads or in worker processes, in order, some ahead of it.

Decoders (Pillow, libsndfile) let go of Python's lock, so that threads are enough for most; worker processes are for
many cores, and for decoders that may take their process with them.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multimodal.encoders.base import Encoder, Preparation
from multimodal.errors import MediaError
from multimodal.sample import Content

CONTENTS_PER_TASK = 8
"""A worker is handed so many contents at once: each hand-over costs a tenth of a millisecond."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A content after preprocessing, or what went wrong.

    Args:
        inputs: what the encoder takes; None where there was a problem.
        decode_seconds, transform_seconds: processor time of the two steps.
    """

    content_id: str
    inputs: Tensor | None
    problem: str = ""
    decode_seconds: float = 0.0
    transform_seconds: float = 0.0

    def moved(self, inputs: Tensor) -> Prepared:
        """The same with its inputs elsewhere."""
        return replace(self, inputs=inputs)


_Answer = tuple[np.ndarray[Any, Any] | None, str, float, float]


class Preparer:
    """Prepares contents for one encoder.

    Args:
        encoder: whose `preparation` is applied.
        workers: threads or processes.
        in_processes: worker processes instead of threads; started when the first content comes.
    """

    def __init__(self, encoder: Encoder, workers: int, in_processes: bool = False) -> None:
        self._preparation, self.workers, self._in_processes = encoder.preparation(), workers, in_processes
        self._executor: Executor | None = None

    def close(self) -> None:
        """End threads and processes."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def prepare(self, contents: Iterable[Content], ahead: Callable[[], int]) -> Generator[Prepared, None, None]:
        """In order, at most so many contents ahead of the consumer.

        Raises:
            BrokenExecutor: a worker process died; the next call starts new ones.
        """
        pending: deque[tuple[list[str], Future[list[_Answer]]]] = deque()
        rest = iter(contents)
        try:
            while True:
                while len(pending) * CONTENTS_PER_TASK < ahead() and (part := list(islice(rest, CONTENTS_PER_TASK))):
                    pending.append(([content.content_id for content in part], self._submit(part)))
                if not pending:
                    return
                ids, future = pending.popleft()
                for content_id, (inputs, problem, *seconds) in zip(ids, future.result(), strict=True):
                    tensor = None if inputs is None else torch.from_numpy(inputs)
                    yield Prepared(content_id, tensor, problem, *seconds)
        except BrokenExecutor:
            self._executor = None
            raise
        finally:
            for _, future in pending:
                future.cancel()

    def _submit(self, part: Sequence[Content]) -> Future[list[_Answer]]:
        data = [content.data for content in part]
        if self._executor is None:
            self._executor = self._start()
        if self._in_processes:
            return self._executor.submit(_prepare_in_worker, data)
        return self._executor.submit(_prepare_all, self._preparation, data)

    def _start(self) -> Executor:
        if not self._in_processes:
            return ThreadPoolExecutor(self.workers, thread_name_prefix="prepare")
        # Never forked: the threads of torch and Prefect would leave their locks held in the copy.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, context, _start_worker, (self._preparation,))


_PREPARATION: list[Preparation] = []
"""Of a worker process, set once when it starts."""


def _start_worker(preparation: Preparation) -> None:
    torch.set_num_threads(1)
    _PREPARATION[:] = [preparation]


def _prepare_in_worker(data: Sequence[bytes]) -> list[_Answer]:
    return _prepare_all(_PREPARATION[0], data)


def _prepare_all(preparation: Preparation, data: Sequence[bytes]) -> list[_Answer]:
    # Arrays, since torch would send each tensor to another process through a file descriptor of its own.
    return [_prepare_one(preparation, each) for each in data]


def _prepare_one(preparation: Preparation, data: bytes) -> _Answer:
    start = decoded_at = time.thread_time()
    try:
        decoded = preparation.decode(data)
        decoded_at = time.thread_time()
        inputs = preparation.transform(decoded).numpy()
    except MediaError as error:
        return None, str(error), time.thread_time() - start, 0.0
    return inputs, "", decoded_at - start, time.thread_time() - decoded_at
