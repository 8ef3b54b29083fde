"""The actors of a Ray cluster: streaming batch inference with Ray Data, from a driver inside the cluster."""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa

from multimodal.errors import ConfigError, RunnerError
from multimodal.runners.options import RunnerOptions
from multimodal.runners.work import DEATHS, Make, attempt, result_of

try:
    import ray
    import ray.data
except ImportError as error:
    raise ConfigError("the runner 'ray' needs Ray: pip install 'multimodal[ray]'") from error

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

STARTS = 10
"""Of one actor, on whichever node has room for it: nodes of a cluster come and go."""


class Worker:
    """An actor of the pool. Each batch is one row: the number of an item, and the item.

    Args:
        make: pickled; gives what turns an item into its result.
    """

    def __init__(self, make: bytes) -> None:
        self._make = make
        self._work: Callable[[Any], Any] | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """(number, result) of each row."""
        return pa.table(
            {
                "number": batch.column("number"),
                "result": pa.array([attempt(self._do, data) for data in batch.column("item").to_pylist()], _BYTES),
            }
        )

    def _do(self, data: bytes) -> Any:
        if self._work is None:  # here and not at the start: what it raises is then an item's error
            work: Callable[[Any], Any] = pickle.loads(self._make)()
            self._work = work
        return self._work(pickle.loads(data))


_BYTES = pa.large_binary()


def run_on_ray(
    options: RunnerOptions, make: Make[ItemT, ResultT], items: Sequence[ItemT]
) -> Iterator[tuple[int, ResultT]]:
    """See `multimodal.runners.run`. What a dead node had under way, or had not handed over, is done again elsewhere."""
    if not items:
        return
    with _connected(options.address, options.is_alone):
        workers = min(options.workers, len(items))
        rows = pa.table(
            {
                "number": pa.array(range(len(items)), pa.int64()),
                "item": pa.array([pickle.dumps(item) for item in items], _BYTES),
            }
        )
        results = _on_actors(options, workers, pickle.dumps(make), rows)
        try:
            for batch in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
                numbers, data = batch.column("number").to_pylist(), batch.column("result")
                for number, result in zip(numbers, data, strict=True):
                    yield number, result_of(result.as_py())
        except ray.exceptions.RayError as error:
            raise RunnerError(
                f"the Ray cluster gave up after {DEATHS + 1} attempts at an item: {_first_line(error)}"
            ) from error


def _on_actors(options: RunnerOptions, workers: int, make: bytes, rows: pa.Table) -> ray.data.Dataset:
    """The results of all rows, each a block of its own, when they are asked for."""
    blocks = [rows.slice(number, 1) for number in range(len(rows))]
    with warnings.catch_warnings():
        # Ray says that these two will be named otherwise from 2.64 on, which pyproject.toml therefore excludes.
        warnings.filterwarnings("ignore", message=".*ray_remote_args")
        return ray.data.from_arrow(blocks).map_batches(
            Worker,
            fn_constructor_args=(make,),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
            num_cpus=options.cpus,
            num_gpus=_gpus(options),
            # Ray Data would try for ever: a content that kills its worker would keep the stage from ending.
            max_restarts=STARTS,
            max_task_retries=DEATHS,
        )


@contextmanager
def _connected(address: str | None, alone: bool) -> Iterator[None]:
    """A connection to the cluster, for the block; one that is there already is used, and left alone."""
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # that there is no bar is meant so
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield
        return
    if alone:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    started = {"include_dashboard": False} if alone else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **started)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunnerError(
            f"no Ray cluster at {address or os.environ.get('RAY_ADDRESS')!r}: {_first_line(error)}; start one "
            "(`ray start --head`), or leave runner.address out for one of this machine alone"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _gpus(options: RunnerOptions) -> float:
    """The share of a GPU of each worker.

    Raises:
        ConfigError: no node has what a worker reserves.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    some = any(node.get("GPU", 0) for node in nodes)
    gpus = options.gpus if options.gpus is not None else float(some)
    if not any(node.get("CPU", 0) >= options.cpus and node.get("GPU", 0) >= gpus for node in nodes):
        kinds = {f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes}
        had = ", ".join(sorted(kinds, reverse=True))
        raise ConfigError(f"a worker reserves {options.cpus:g} CPUs and {gpus:g} GPUs; the cluster's nodes have {had}")
    return gpus


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
