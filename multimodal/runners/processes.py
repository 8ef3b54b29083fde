"""Worker processes of this machine, started again when one of them dies."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from multimodal.errors import RunnerError
from multimodal.runners.options import RunnerOptions
from multimodal.runners.work import DEATHS, Make, attempt, result_of

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

WAITING_PER_WORKER = 2
"""Items that are under way for each worker: one is worked on while the next one travels."""

_work: dict[str, _Maker] = {}
"""In a worker: what turns an item into its result, under one name."""


def run_in_processes(
    options: RunnerOptions, make: Make[ItemT, ResultT], items: Sequence[ItemT]
) -> Iterator[tuple[int, ResultT]]:
    """See `multimodal.runners.run`. The items that were under way when a worker died are done again."""
    left = dict(enumerate(items))
    deaths = 0
    while left:
        try:
            for number, data in _pass(options.workers, make, left):
                del left[number]
                yield number, result_of(data)
        except BrokenProcessPool as error:
            deaths += 1
            if deaths > DEATHS:
                raise RunnerError(
                    f"worker processes died {deaths} times, the last time with {len(left)} items to do; killed for "
                    "their memory, perhaps: lower the batch size or the workers"
                ) from error


def _pass(workers: int, make: Make[ItemT, ResultT], left: dict[int, ItemT]) -> Iterator[tuple[int, bytes]]:
    todo = iter(list(left.items()))
    under_way: dict[Future[bytes], int] = {}
    context = multiprocessing.get_context("spawn")  # a forked process would inherit the threads' locks, held by nobody
    pool = ProcessPoolExecutor(min(workers, len(left)), mp_context=context, initializer=_start, initargs=(make,))
    try:
        for number, item in islice(todo, WAITING_PER_WORKER * workers):
            under_way[pool.submit(_do, item)] = number
        while under_way:
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            # A result that is there is kept, though another one's worker is dead.
            for future in sorted(done, key=lambda one: one.exception() is not None):
                yield under_way.pop(future), future.result()
                for number, item in islice(todo, 1):
                    under_way[pool.submit(_do, item)] = number
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(make: Make[Any, Any]) -> None:
    _work["work"] = _Maker(make)


class _Maker:
    """Makes the work with the first item: what making raises is then that item's error, not the worker's death."""

    def __init__(self, make: Make[Any, Any]) -> None:
        self._make = make
        self._made: Callable[[Any], Any] | None = None

    def __call__(self, item: Any) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made(item)


def _do(item: Any) -> bytes:
    return attempt(_work["work"], item)
