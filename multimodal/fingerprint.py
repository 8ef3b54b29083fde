"""Fingerprints: what a stage's result depends on, so that unchanged stages are skipped and changed ones say why.

A stage lists its *parts* (input fingerprint, resolved config, code version, weights' hash) in one dict; the
fingerprint is the SHA-256 of it. The dict is written beside the result, so that the next run can name the part
that differs.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

INDEX = "index.json"
"""Name of the file that is written last: a folder without it is not there."""

UNFINISHED = ".multimodal-unfinished"
"""How the names of temporary folders end: those of killed processes are removed, and no folder of anybody else's."""

ABANDONED_SECONDS = 6 * 3600
"""A temporary folder that no process of this machine holds, and that nothing was added to for so long, is removed: so
long, because another machine may hold it through a file system whose locks are each machine's own."""

CHECKSUM = "checksum"
"""Key of an index: digest of all its other values."""


def digest(value: Any) -> str:
    """SHA-256 of any JSON-serialisable value, 64 hex digits; keys are sorted, so dict order does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def fingerprint(parts: Mapping[str, Any]) -> str:
    """The fingerprint of a stage: first 16 hex digits of the digest of its parts."""
    return digest(dict(parts))[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(folder: Path, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """SHA-256 of every file under a folder but its index, by relative name; hidden files are no part of it.

    Args:
        known: digests of files that need not be hashed.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / INDEX)
    names = {path.relative_to(folder).as_posix(): path for path in files if not path.name.startswith(".")}
    return {name: (known or {}).get(name) or file_digest(path) for name, path in names.items()}


def code_version(*names: str) -> str:
    """Digest of the source code of the named parts of this library, e.g. `code_version("ingest", "dataset.py")`."""
    root = Path(__file__).parent
    files = sorted(
        file for name in names for file in ((root / name).rglob("*.py") if (root / name).is_dir() else [root / name])
    )
    return digest([(file.relative_to(root).as_posix(), file_digest(file)) for file in files])[:16]


def read_index(folder: Path) -> dict[str, Any] | None:
    """The index of a finished folder, or None where there is no finished folder."""
    path = folder / INDEX
    if not path.is_file():
        return None
    index: dict[str, Any] = json.loads(path.read_text())
    return index


def explain_change(parts: Mapping[str, Any], stage_folder: Path) -> str:
    """Why a stage has to run: the parts that differ from the newest finished result in `stage_folder`."""
    finished = [path.parent for path in stage_folder.glob(f"*/{INDEX}")]
    if not finished:
        return "no earlier result"
    newest = max(finished, key=lambda folder: (folder / INDEX).stat().st_mtime)
    before = (read_index(newest) or {}).get("parts", {})
    changes = list(_differences(before, json.loads(json.dumps(dict(parts), default=str))))
    return "changed: " + ", ".join(changes[:4]) + (" ..." if len(changes) > 4 else "") if changes else "result missing"


def _differences(before: Any, after: Any, name: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _differences(before.get(key), after.get(key), f"{name}.{key}" if name else str(key))
    elif before != after:
        yield f"{name} {_short(before)} -> {_short(after)}"


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 24 else text[:20] + "..." + text[-1]


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that it is either wholly there or not at all: temporary name, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sibling(path: Path) -> Path:
    """A hidden name beside `path` that nothing else uses; made with the user's own permissions, unlike `tempfile`'s."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def write_json(path: Path, value: Any) -> None:
    """`write_file` of a value as indented JSON."""
    write_file(path, (json.dumps(value, indent=1, sort_keys=True, default=str) + "\n").encode())


def write_index(folder: Path, values: Mapping[str, Any]) -> None:
    """Write a folder's index, with a checksum by which `is_intact` knows it again."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(values), default=str))
    plain.pop(CHECKSUM, None)
    write_json(folder / INDEX, plain | {CHECKSUM: digest(plain)})


def is_intact(index: Mapping[str, Any]) -> bool | None:
    """Whether an index is what was written; None where it was written without a checksum."""
    rest = dict(index)
    checksum = rest.pop(CHECKSUM, None)
    return None if checksum is None else digest(rest) == checksum


def _unfinished(folder: Path) -> Path:
    return folder.with_name(_sibling(folder).name + UNFINISHED)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling of `folder` that takes its place when the block ends well and vanishes when it does not.

    Where another process puts the same folder in place at the same moment, one of the two stays: names are keyed by
    content, so both hold the same. What killed processes left half-written is removed.
    """
    _remove_abandoned(folder.parent)
    temporary, replaced = (_unfinished(folder), _unfinished(folder))
    temporary.mkdir(parents=True)
    lock = os.open(temporary, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)  # held while this process lives, however it ends
        yield temporary
        try:
            with suppress(FileNotFoundError):  # moved away at once: removing takes time, in which readers would miss it
                folder.replace(replaced)
            temporary.replace(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    finally:
        os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove the temporary folders of processes that are gone; where the file system has no locks, none."""
    for folder in parent.glob(f".*{UNFINISHED}"):
        # A folder of this moment may be one whose process has not locked it yet.
        with suppress(OSError):
            if not folder.is_dir() or time.time() - folder.stat().st_mtime < ABANDONED_SECONDS:
                continue
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
