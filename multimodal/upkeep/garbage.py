"""Latents that nothing needs any more: which they are, and removing them.

A shard goes when no finished dataset of the workspace has any of its contents; a store when, besides, no encode stage
filled it for such a dataset. A store whose encoder a model package names stays whole. What cannot be judged (a store
that is being written, cannot be read, or holds files that no writer made) is left alone and said.

Removing looks again under a lock that keeps writers out, for the list may be old. The index is written before files
are removed, so that a killed removal leaves files that nobody reads, never an index of files that are gone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from multimodal.errors import DatasetError
from multimodal.fingerprint import ABANDONED_SECONDS, INDEX, read_index, write_index
from multimodal.latents import LatentStore
from multimodal.latents.locks import INDEX_LOCK, WRITERS_LOCK, index_lock, is_written, no_writers
from multimodal.latents.writer import listing
from multimodal.upkeep.needs import Needs
from multimodal.upkeep.stores import folder_bytes

SHARD = re.compile(r"shard-.*\.arrow")
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")
"""What a writer that was killed leaves of a file under way."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing that may go.

    Args:
        path: a store's folder, a file in it, or the record of an encode stage.
        what: `store`, `shard`, `unfinished shard`, `unfinished store`, `leftover` or `record`.
        why: nothing needs it.
        num_bytes: that its removal frees.
    """

    path: Path
    what: str
    why: str
    num_bytes: int


@dataclass(slots=True)
class GarbageList:
    """What may go, and what was left alone.

    Args:
        found: in the order in which it is removed.
        skipped: name of a store -> why nothing of it is listed.
    """

    found: list[Garbage] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Of all that may go."""
        return sum(one.num_bytes for one in self.found)

    def add_records(self, records: Iterable[Garbage]) -> None:
        """Add records that are not listed yet: one may be about several stores."""
        known = {one.path for one in self.found}
        self.found += [one for one in records if one.path not in known]


def find_garbage(workspace: Path) -> GarbageList:
    """What nothing in a workspace needs; changes nothing.

    Raises:
        DatasetError: a finished dataset of the workspace cannot be read.
    """
    listed, needs = GarbageList(), Needs.of(workspace)
    for folder in _folders(workspace):
        if is_written(folder):
            listed.skipped[folder.name] = "another process is writing to it"
        else:
            _judge(folder, needs, listed)
    return listed


def remove_garbage(workspace: Path) -> GarbageList:
    """Remove what nothing in a workspace needs; returns what was removed.

    Raises:
        DatasetError: a finished dataset of the workspace cannot be read; nothing of the stores after it is removed.
    """
    removed = GarbageList()
    for folder in _folders(workspace):
        with no_writers(folder) as alone:
            if not alone:
                removed.skipped[folder.name] = "another process is writing to it"
                continue
            # Asked anew for each store: while writers are kept out, no dataset can come to rely on what is there.
            chosen = GarbageList()
            _judge(folder, Needs.of(workspace), chosen)
            _remove(folder, chosen.found)
            removed.found += chosen.found
            removed.skipped |= chosen.skipped
    return removed


def _folders(workspace: Path) -> list[Path]:
    return sorted(path for path in (workspace / "latents").glob("*") if path.is_dir() and not path.is_symlink())


def _judge(folder: Path, needs: Needs, listed: GarbageList) -> None:
    """Add what may go of one store."""
    try:
        store = LatentStore(folder) if (folder / INDEX).is_file() else None
    except (DatasetError, ValueError, KeyError) as error:
        listed.skipped[folder.name] = f"it cannot be read: {error}"
        return
    if store is None:
        _judge_unfinished(folder, listed)
        return
    if folder.name in needs.packages:
        listed.found += _leftovers(folder, set(store.shards))
        return
    idle = {name for name, content_ids in store.shards.items() if not needs.wanted(content_ids)}
    if not needs.datasets_of(folder.name, {*store, *store.failed}):
        if foreign := _foreign(folder):
            listed.skipped[folder.name] = f"nothing needs it, but it holds files that no writer made: {foreign}"
            return
        listed.add_records(_stale_records(folder, needs))
        listed.found.append(Garbage(folder, "store", "no dataset or model package needs it", folder_bytes(folder)))
        return
    if idle:
        listed.add_records(_stale_records(folder, needs))
    for name in sorted(idle):
        size = (folder / name).stat().st_size
        listed.found.append(Garbage(folder / name, "shard", "no dataset has any of its contents", size))
    listed.found += _leftovers(folder, set(store.shards))


def _remove_store(folder: Path) -> None:
    (folder / INDEX).unlink(missing_ok=True)  # from here on it is no store, however this process ends
    for path in folder.iterdir():
        if path.name != WRITERS_LOCK:
            path.unlink()
    # The lock goes last: who opens it now waits until all else is gone, and finds out that it lies nowhere any more.
    (folder / WRITERS_LOCK).unlink(missing_ok=True)
    with suppress(OSError):  # a writer that was faster has made the folder its own
        folder.rmdir()


def _judge_unfinished(folder: Path, listed: GarbageList) -> None:
    if foreign := _foreign(folder):
        listed.skipped[folder.name] = f"it has no index and holds files that no writer made: {foreign}"
    # The writers' lock does not count: whoever removes has just made it.
    elif all(_is_old(path) for path in folder.iterdir() if path.name != WRITERS_LOCK):
        listed.found.append(Garbage(folder, "unfinished store", "it has no index", folder_bytes(folder)))


def _stale_records(folder: Path, needs: Needs) -> Iterator[Garbage]:
    # They say that a dataset that is gone is encoded. Were it made again, its encode stage would be skipped.
    for record in needs.stale_records(folder.name):
        why = f"of dataset {record.dataset or '?'}, which is gone"
        yield Garbage(record.path / INDEX, "record", why, (record.path / INDEX).stat().st_size)


def _leftovers(folder: Path, known: set[str]) -> Iterator[Garbage]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in known and _is_old(path):
            if SHARD.fullmatch(path.name):
                yield Garbage(path, "unfinished shard", "the index does not name it", path.stat().st_size)
            elif TEMPORARY.fullmatch(path.name):
                yield Garbage(path, "leftover", "its writer is gone", path.stat().st_size)


def _is_old(path: Path) -> bool:
    # Writers of earlier versions of this program hold no lock.
    return time.time() - path.stat().st_mtime >= ABANDONED_SECONDS


def _foreign(folder: Path) -> str:
    own = {INDEX, INDEX_LOCK, WRITERS_LOCK}
    names = sorted(path.name for path in folder.iterdir())
    foreign = [
        name for name in names if name not in own and not SHARD.fullmatch(name) and not TEMPORARY.fullmatch(name)
    ]
    return ", ".join(foreign[:3])


def _remove(folder: Path, chosen: list[Garbage]) -> None:
    for one in chosen:
        if one.what == "record":
            one.path.unlink(missing_ok=True)
    if any(one.path == folder for one in chosen):
        _remove_store(folder)
        return
    shards = {one.path.name for one in chosen if one.what == "shard"}
    if shards:
        with index_lock(folder):
            index = read_index(folder) or {}
            kept = [shard for shard in index["shards"] if shard["name"] not in shards]
            write_index(folder, index | listing(kept))
    for one in chosen:
        if one.what != "record":
            one.path.unlink(missing_ok=True)
