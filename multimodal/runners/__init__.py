"""One function over many items, done by worker processes of this machine or by the actors of a Ray cluster.

    options     who does the work
    work        what travels to a worker and back
    processes   worker processes, started again when one dies
    cluster     Ray Data: a pool of actors fed by a stream

What a worker does with an item depends on the item alone, and who cuts the work into items asks nothing of the runner:
so results do not depend on who computed them, in which order, or how often one was computed again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TypeVar

from multimodal.runners.options import RunnerOptions
from multimodal.runners.work import Make

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

__all__ = ["RunnerOptions", "run"]


def run(options: RunnerOptions, make: Make[ItemT, ResultT], items: Sequence[ItemT]) -> Iterator[tuple[int, ResultT]]:
    """Do all items, each by one of the workers.

    Args:
        options: who does the work.
        make: called once in every worker: what turns an item into its result. `threads`: called here.
        items: they, `make` and the results travel by pickle.

    Yields:
        (number of the item, result), in the order in which they are done.

    Raises:
        ConfigError: Ray is not installed, or the cluster has not what a worker reserves.
        RunnerError: workers died again and again, or there is no such cluster.
        MultimodalError: as raised by a worker.
    """
    if options.kind == "processes":
        from multimodal.runners.processes import run_in_processes

        yield from run_in_processes(options, make, items)
    elif options.kind == "ray":
        if options.is_alone:
            # Ray asks nobody for a password. By this variable, named after the systems on which it is the default, it
            # listens on loopback alone; it is read when ray is imported.
            os.environ.setdefault(LOOPBACK_ONLY, "0")
        from multimodal.runners.cluster import run_on_ray

        yield from run_on_ray(options, make, items)
    else:
        work = make()
        for number, item in enumerate(items):
            yield number, work(item)
