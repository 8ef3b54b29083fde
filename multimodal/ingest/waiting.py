"""Rows that wait for the end of an ingest, on disk: their number is bounded by the disk, and memory stays flat.

Splits, near duplicates and outliers are known when all rows are; until then the rows lie in a SQLite file without a
name, which is gone when the process is, however it ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from multimodal.ingest.drafts import Draft
from multimodal.sample import Split, Task

ROWS_PER_WRITE = 1024


class WaitingRows:
    """Rows of texts or None, numbered from 0 in the order in which they were added.

    Args:
        folder: that has room for them.
        width: number of columns.
    """

    def __init__(self, folder: Path, width: int) -> None:
        with NamedTemporaryFile(dir=folder, prefix=".waiting-") as file:
            self._database = sqlite3.connect(file.name, check_same_thread=False)
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
                self._database.execute(f"PRAGMA {pragma}")
            self._database.execute(f"CREATE TABLE rows ({', '.join(f'c{column}' for column in range(width))})")
        self._insert = f"INSERT INTO rows VALUES ({', '.join('?' * width)})"
        self._new: list[Sequence[str | None]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, row: Sequence[str | None]) -> None:
        """Add one row."""
        self._new.append(row)
        self._count += 1
        if len(self._new) == ROWS_PER_WRITE:
            self._write()

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        self._write()
        found: tuple[Any, ...] = self._database.execute("SELECT * FROM rows WHERE rowid = ?", [number + 1]).fetchone()
        return found

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        self._write()
        yield from self._database.execute("SELECT * FROM rows ORDER BY rowid")

    def close(self) -> None:
        """Forget all rows."""
        self._database.close()

    def _write(self) -> None:
        if self._new:
            with self._database:
                self._database.executemany(self._insert, self._new)
            self._new = []


class KeptRows:
    """The drafts of the rows that are kept, by their number and by their sample's id.

    Args:
        folder: that has room for them.
    """

    def __init__(self, folder: Path) -> None:
        self._rows = WaitingRows(folder, len(_COLUMNS))
        # Ids as bytes: of a million rows, they are all that stays in memory.
        self._numbers: dict[bytes, int] = {}
        self._ids: list[bytes] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, sample_id: str, draft: Draft) -> Draft | None:
        """Keep a draft, unless one of the same sample is kept already: that one is returned."""
        number = self._numbers.setdefault(bytes.fromhex(sample_id), len(self._rows))
        if number < len(self._rows):
            return self[number]
        self._rows.add(_values(draft))
        return None

    def __getitem__(self, number: int) -> Draft:
        return _draft(self._rows[number])

    def __iter__(self) -> Iterator[Draft]:
        return map(_draft, self._rows)

    def items(self) -> Iterator[tuple[str, Draft]]:
        """Sample ids and drafts, in order."""
        return zip(map(bytes.hex, self._numbers), self, strict=True)

    def sample_id(self, number: int) -> str:
        """The id of the sample that a draft is to become; asked for once all are known."""
        if len(self._ids) < len(self._rows):
            self._ids = list(self._numbers)
        return self._ids[number].hex()

    def close(self) -> None:
        """Forget all rows."""
        self._rows.close()


_COLUMNS = (
    "uri", "source", "text", "input", "style", "speaker", "attributes", "group", "content_id", "hint", "picture_id",
    "originals", "task", "official",
)  # fmt: skip
"""All of a draft but where its media lies: that has been read."""

_values = attrgetter(*_COLUMNS)


def _draft(row: tuple[Any, ...]) -> Draft:
    *texts, task, official = row
    texts_by_name = dict(zip(_COLUMNS, texts, strict=False))
    return Draft(**texts_by_name, task=Task(task), official=None if official is None else Split(official))
