"""The bytes of media in Parquet, a few rows at a time: row groups may be as large as the data set."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from multimodal.errors import MediaError, UnreachableError
from multimodal.ingest.locations import Location, open_plain
from multimodal.ingest.parquet_pages import pages_of
from multimodal.ingest.reasons import Reason

ARROW_ERRORS = (pa.ArrowException, OSError, EOFError, ValueError, OverflowError)
"""What damaged Parquet was seen to raise, and values that Python cannot hold: a date in the year 10000."""
ROWS_AT_ONCE = 64
BYTES_AT_ONCE = 16 << 20
BYTES_HELD = 64 << 20
CURSORS = 16
RECENT_GROUPS = 2
"""Threads are in two row groups at once where one ends."""

BUFFER_BYTES = 1 << 20
BYTES_FIELD = "bytes"

Group = tuple[Location, int, str]
"""File, row group, path of the column."""

Cell = bytes | int | None
"""A value; of one with too many bytes only their number; None for null."""


class RowGroups:
    """Cells of media columns. They are asked for nearly in order, each once, by several threads at once.

    Cells that were passed on the way to a later one are held until they are asked for; where they are too large to be
    held, each thread comes to have a place of its own in the row group.

    Args:
        bytes_held: of cells that were passed.
    """

    def __init__(self, bytes_held: int = BYTES_HELD) -> None:
        self._most_bytes, self._bytes, self._lock = bytes_held, 0, Lock()
        self._held: OrderedDict[tuple[Group, int], Cell] = OrderedDict()
        self._cursors: list[_Cursor] = []  # last used last
        self._recent: list[Group] = []
        self._broken: dict[Group, tuple[int, Exception]] = {}

    def __del__(self) -> None:
        for cursor in self._cursors:
            cursor.close()

    def cell(self, group: Group, row: int, most_bytes: int) -> Cell:
        """One cell.

        Args:
            most_bytes: of a value that is wanted.

        Raises:
            MediaError: the column unpacks to too much.
            pyarrow.ArrowException, OSError, ValueError: it is damaged.
        """
        with self._lock:
            if (group, row) in self._held:
                return self._take(group, row)
            place, error = self._broken.get(group, (row + 1, None))
            if error is not None and row >= place:
                raise error.with_traceback(None)
            cursor = self._cursor(group, row)
            try:
                while cursor.row <= row:
                    for place, value in cursor.read(most_bytes):
                        self._hold(group, place, value, wanted=row)
                if cursor.is_at_end:
                    self._drop(cursor)
            except UnreachableError:
                self._drop(cursor)
                raise
            except (MediaError, *ARROW_ERRORS) as error:
                self._drop(cursor)
                self._broken[group] = (cursor.row, error)
                raise
            return self._take(group, row)

    def _cursor(self, group: Group, row: int) -> _Cursor:
        """The place of the column that is next before a row."""
        if group not in self._recent:
            self._recent = [*self._recent[1 - RECENT_GROUPS :], group]
            for cursor in [cursor for cursor in self._cursors if cursor.group not in self._recent]:
                self._drop(cursor)
            for key in [key for key in self._held if key[0] not in self._recent]:
                self._take(*key)
        behind = [cursor for cursor in self._cursors if cursor.group == group and cursor.row <= row]
        chosen = max(behind, key=lambda cursor: cursor.row) if behind else _Cursor(group)
        self._cursors = [*(cursor for cursor in self._cursors if cursor is not chosen), chosen]
        if len(self._cursors) > CURSORS:
            self._drop(self._cursors[0])
        return chosen

    def _drop(self, cursor: _Cursor) -> None:
        cursor.close()
        self._cursors.remove(cursor)

    def _take(self, group: Group, row: int) -> Cell:
        value = self._held.pop((group, row))
        self._bytes -= _size(value)
        return value

    def _hold(self, group: Group, row: int, value: Cell, wanted: int) -> None:
        self._held[group, row] = value
        self._bytes += _size(value)
        for key in [] if self._bytes <= self._most_bytes else list(self._held):
            if key != (group, wanted):
                self._take(*key)
            if self._bytes <= self._most_bytes:
                break


class _Cursor:
    """A place in a column. The file is opened when the first rows are read."""

    def __init__(self, group: Group) -> None:
        self.group, self.row, self._rows = group, 0, 1
        self._open = ExitStack()
        self._batches: Iterator[pa.RecordBatch] | None = None

    @property
    def is_at_end(self) -> bool:
        """Whether all rows have been read."""
        return self.row >= self._rows

    def read(self, most_bytes: int) -> Iterator[tuple[int, Cell]]:
        """The next rows, a few at once, each with its number in the row group."""
        if self._batches is None:
            self._batches = self._start()
        batch = next(self._batches, None)
        if batch is None:
            raise ValueError(f"row group {self.group[1]} ends after {self.row} rows, {self._rows} are stated")
        values = batch.column(0)
        if pa.types.is_struct(values.type):
            values = pc.struct_field(values, BYTES_FIELD)
        first, self.row = self.row, self.row + len(values)
        yield from ((first + number, _value(scalar, most_bytes)) for number, scalar in enumerate(values))

    def close(self) -> None:
        """Close the file."""
        self._batches = None
        self._open.close()

    def _start(self) -> Iterator[pa.RecordBatch]:
        file, row_group, column = self.group
        opened = self._open.enter_context(open_plain(file))
        # Buffered: else all of the column's bytes are read at once.
        parquet = self._open.enter_context(pq.ParquetFile(opened, buffer_size=BUFFER_BYTES))
        metadata = parquet.metadata.row_group(row_group)
        self._rows = metadata.num_rows
        chunks = (metadata.column(index) for index in range(metadata.num_columns))
        pages = pages_of(opened, (chunk for chunk in chunks if chunk.path_in_schema == column))
        for problem in filter(None, (page.problem for page in pages)):
            raise MediaError(Reason.TOO_LARGE, f"{file.name}, {column}: {problem}")
        largest = max((page.uncompressed for page in pages), default=1)
        rows = min(ROWS_AT_ONCE, max(1, BYTES_AT_ONCE // max(1, largest)))
        return iter(parquet.iter_batches(rows, row_groups=[row_group], columns=[column], use_threads=False))


def _value(scalar: Any, most_bytes: int) -> Cell:
    if not scalar.is_valid:
        return None
    buffer = scalar.as_buffer()
    return int(buffer.size) if buffer.size > most_bytes else bytes(buffer)


def _size(value: Cell) -> int:
    return len(value) if isinstance(value, bytes) else 0
