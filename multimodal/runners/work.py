"""What travels to a worker and back."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from multimodal.errors import MultimodalError, RunnerError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Make = Callable[[], Callable[[ItemT], ResultT]]
"""Called once in every worker; gives what turns an item into its result."""

DEATHS = 3
"""A worker's death costs its items one attempt; after so many the work is given up."""


def attempt(work: Callable[[Any], Any], item: Any) -> bytes:
    """The result of an item, or what it raised, as bytes."""
    try:
        return pickle.dumps((work(item), None))
    except Exception as error:  # what a worker raises must reach the one who asked, whatever it is
        return pickle.dumps((None, _portable(error)))


def result_of(data: bytes) -> Any:
    """What `attempt` packed.

    Raises:
        MultimodalError: as raised by the worker; RunnerError stands for all other exceptions.
    """
    result, error = pickle.loads(data)
    if error is not None:
        raise error
    return result


def _portable(error: Exception) -> MultimodalError:
    if isinstance(error, MultimodalError) and _travels(error):
        return error
    failed = RunnerError(f"a worker failed: {type(error).__name__}: {error}")
    # A note: Python's own traceback shows it, the command line's one line does not.
    failed.add_note("".join(traceback.format_exception(error)))
    return failed


def _travels(error: Exception) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # an exception whose constructor takes other arguments than it keeps
        return False
