"""Parquet parts: the numbered files that tables of rows are written to, a row group at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_PART = 100_000


class PartWriter:
    """Parquet parts of one kind of record; rows are flushed as row groups, so that memory stays flat.

    Args:
        first: number of the first part.
    """

    def __init__(self, folder: Path, prefix: str, schema: pa.Schema, first: int = 0) -> None:
        self.folder, self.prefix, self.schema = folder, prefix, schema
        self.count = 0
        self._rows: list[tuple[Any, ...]] = []
        self._part = first - 1
        self._file: Any = None
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: tuple[Any, ...]) -> None:
        """Add one row."""
        self._rows.append(row)
        self.count += 1
        if len(self._rows) == 4096:
            self.flush()
        if self.count % ROWS_PER_PART == 0:
            self.close()

    def flush(self) -> None:
        """Write what was added as a row group."""
        if not self._rows:
            return
        if self._writer is None:
            self._part += 1
            self._file = (self.folder / f"{self.prefix}-{self._part:05d}.parquet").open("wb")
            # Pictures and sounds are packed as they are; only texts gain from a dictionary and from packing.
            texts = [column.name for column in self.schema if pa.types.is_string(column.type)]
            packing = {column.name: "zstd" if column.name in texts else "none" for column in self.schema}
            options = {"compression": packing, "use_dictionary": texts, "write_statistics": texts}
            self._writer = pq.ParquetWriter(self._file, self.schema, **options)
        columns = zip(zip(*self._rows, strict=True), self.schema, strict=True)
        arrays = [pa.array(values, type=column.type) for values, column in columns]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema))
        self._rows = []

    def close(self) -> None:
        """Finish the open part, on disk."""
        self.flush()
        if self._writer is not None:
            self._writer.close()
            os.fsync(self._file.fileno())
            self._file.close()
            self._writer = None


def part_paths(folder: Path, prefix: str) -> list[Path]:
    """The parts of one kind of record, in order."""
    return sorted(folder.glob(f"{prefix}-*.parquet"))
