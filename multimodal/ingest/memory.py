"""What earlier ingests of a workspace found out, so that nothing is hashed or decoded twice: one SQLite file.

files    a local file's path, size, times and inode when its bytes were hashed -> their digest. While a stat says the
         same, the file is not opened to know what is in it: the shortcut of git's index.
decoded  content id, modality and checks -> what decoding the bytes came to: facts, or the reason against them.
parts    a dataset's file of media, its size, time and inode when it was written: a later dataset takes it over unread.

It is a memory and no result: deleting it costs time, nothing else.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any, Self

from multimodal.fingerprint import code_version, digest
from multimodal.ingest.databases import open_database
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.reasons import Reason
from multimodal.sample import Modality

MEMORY = "ingest.db"
"""Its name in the workspace."""

RACY_NS = 2 * 10**9
"""A file changed within so many nanoseconds before it was hashed may change again without its times showing it, where
a file system counts in coarse steps: its digest is not kept (git's "racily clean" entries)."""

ELSEWHERE = {
    "max_text_chars", "max_json_depth", "refuse_texts", "scripts", "min_script_share", "languages",
    "min_language_confidence", "min_language_bytes", "flag_robust_z", "max_robust_z",
}  # fmt: skip
"""Checks that no picture or sound is held against while it is decoded."""

CODE = tuple(
    f"ingest/{name}.py"
    for name in ("formats", "measures", "media", "pictures", "quality", "reasons", "sounds", "duplicates/decoded")
)
LIBRARIES = ("numpy", "pillow", "soundfile")

OF_THE_MOMENT = frozenset({Reason.DECODER_TIMEOUT, Reason.DECODER_MEMORY, Reason.DECODER_CRASHED})
"""Reasons that another day, or more memory, may take away: such a file is decoded again."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, changed INTEGER, inode INTEGER, digest TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decoded (
    content_id TEXT, modality TEXT, checks TEXT, answer TEXT, PRIMARY KEY (content_id, modality, checks)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, inode INTEGER) WITHOUT ROWID;
"""

Answer = dict[str, Any]
"""Of a decoder: the fields of `MediaFacts`, or `reason` and `detail`."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What a stat says of a plain file.

    Args:
        path: absolute, as bytes: file names need not be text.
        size: in bytes.
        modified, changed: nanoseconds; the second moves whatever tool sets the first back.
        inode: another file under the same name has another one.
        seen: when that was, nanoseconds.
    """

    path: bytes
    size: int
    modified: int
    changed: int
    inode: int
    seen: int = field(default=0, compare=False)

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """The state of a plain file, None where there is none.

        Raises:
            OSError, ValueError: the name cannot be looked up.
        """
        seen = time.time_ns()
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        name = os.fsencode(path.absolute())
        return cls(name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, seen)

    @property
    def is_settled(self) -> bool:
        """Whether a change after the stat must show in the times."""
        return self.seen - max(self.modified, self.changed) > RACY_NS


@dataclass(frozen=True, slots=True)
class IngestMemory:
    """The open file; used by several threads, and by several processes at once.

    Args:
        connection: to the database.
    """

    connection: sqlite3.Connection
    _lock: Lock = field(default_factory=Lock, repr=False)

    @classmethod
    @contextmanager
    def open(cls, workspace: Path) -> Iterator[Self]:
        """The memory of a workspace that is there; one that is damaged is begun anew."""
        connection = open_database(workspace / MEMORY, _SCHEMA)
        try:
            yield cls(connection)
        finally:
            connection.close()

    def digests(self, files: Sequence[FileState]) -> dict[bytes, str]:
        """Path -> digest of those files that are as they were when they were hashed."""
        marks = ",".join("?" * len(files))
        asked = f"SELECT path, size, modified, changed, inode, digest FROM files WHERE path IN ({marks})"
        rows = self._read(asked, [file.path for file in files])
        known = {FileState(*row[:5]): row[5] for row in rows}
        return {file.path: known[file] for file in files if file in known}

    def keep_digests(self, found: Mapping[FileState, str]) -> None:
        """Remember the digests of files, stated before they were read."""
        rows = [
            (file.path, file.size, file.modified, file.changed, file.inode, digest)
            for file, digest in found.items()
            if file.is_settled
        ]
        self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows)

    def answers(self, checks: str, contents: Sequence[tuple[str, Modality]]) -> dict[tuple[str, Modality], Answer]:
        """What decoding came to, of those contents (content id and modality) that have been decoded before.

        Args:
            checks: `checks_key` of what they must keep.
        """
        marks = ",".join("?" * len(contents))
        asked = f"SELECT content_id, modality, answer FROM decoded WHERE checks = ? AND content_id IN ({marks})"
        rows = self._read(asked, [checks, *(content_id for content_id, _ in contents)])
        return {(content_id, Modality(modality)): json.loads(answer) for content_id, modality, answer in rows}

    def keep_answers(self, checks: str, found: Mapping[tuple[str, Modality], Answer]) -> None:
        """Remember what decoding came to, but for what only the moment was to blame for."""
        rows = [
            (content_id, modality.value, checks, json.dumps(answer))
            for (content_id, modality), answer in found.items()
            if answer.get("reason") not in OF_THE_MOMENT
        ]
        self._write("INSERT OR REPLACE INTO decoded VALUES (?, ?, ?, ?)", rows)

    def keep_parts(self, paths: Iterable[Path]) -> None:
        """Remember files that this process has just written, or taken over as they were written."""
        self._write("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", [_part(path) for path in paths])

    def is_as_written(self, path: Path) -> bool:
        """Whether a file is one of `keep_parts`, by its stat; not by its time of change, which a hard link moves."""
        try:
            part = _part(path)
        except OSError:
            return False
        return part in self._read("SELECT path, size, modified, inode FROM parts WHERE path = ?", part[:1])

    def _read(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self.connection.execute(query, values).fetchall()

    def _write(self, query: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            with self._lock, self.connection:
                self.connection.executemany(query, rows)


def _part(path: Path) -> tuple[bytes, int, int, int]:
    found = path.stat()
    return os.fsencode(path.absolute()), found.st_size, found.st_mtime_ns, found.st_ino


def checks_key(checks: CheckOptions) -> str:
    """What else the outcome of decoding depends on: the checks of media, the code and the libraries of the decoders."""
    options = checks.model_dump(mode="json", exclude=ELSEWHERE)
    return digest([options, code_version(*CODE), [version(name) for name in LIBRARIES]])[:16]
