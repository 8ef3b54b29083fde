"""Who writes to a store, across processes; a killed process holds no lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INDEX_LOCK, WRITERS_LOCK = ".lock", ".writers"
"""Files of a store: the first is held while the index is changed, the second, shared, by all that add to the store."""


@contextmanager
def index_lock(folder: Path) -> Iterator[None]:
    """One writer of the index at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / INDEX_LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say, for the block, that the store is being written; waits while somebody removes parts of it."""
    lock = _open_writers_lock(folder)
    while not _lies_at(lock, folder / WRITERS_LOCK):  # the store was removed while this process waited
        os.close(lock)
        lock = _open_writers_lock(folder)
    try:
        yield
    finally:
        os.close(lock)


def _open_writers_lock(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = os.open(folder / WRITERS_LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:  # the folder was removed between the two lines
        return _open_writers_lock(folder)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _lies_at(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def no_writers(folder: Path) -> Iterator[bool]:
    """Keep writers out of a store for the block; False, without waiting, where one is at work or the store is gone."""
    try:
        lock = os.open(folder / WRITERS_LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _locks_alone(lock) and _lies_at(lock, folder / WRITERS_LOCK)
    finally:
        os.close(lock)


def is_written(folder: Path) -> bool:
    """Whether somebody is writing to a store at this moment; leaves nothing behind."""
    try:
        lock = os.open(folder / WRITERS_LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _locks_alone(lock)
    finally:
        os.close(lock)


def _locks_alone(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
