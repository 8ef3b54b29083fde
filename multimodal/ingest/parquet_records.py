"""The records of one Parquet file without the bytes of its media: those are read cell by cell, to be decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from multimodal.errors import UnreachableError
from multimodal.ingest.locations import Location, open_plain
from multimodal.ingest.manifests import Unreadable
from multimodal.ingest.reasons import Reason
from multimodal.ingest.refs import ARROW_ERRORS

ROWS_PER_BATCH = 1024
PLAIN_TYPES = (
    types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean,
)  # fmt: skip


def media_leaf(field: pa.Field) -> str:
    """Path of the column that holds a field's bytes: of the struct {bytes, path}, or a binary field; else ""."""
    if types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
        return f"{field.name}.bytes"
    is_binary = types.is_binary(field.type) or types.is_large_binary(field.type)
    return str(field.name) if is_binary else ""


class FileRecords:
    """The records of a file.

    Args:
        file: the Parquet file.
        media: column of the media, "" where none is wanted.
        columns: standard name -> column.

    Raises:
        pyarrow.ArrowException, OSError: the file cannot be read.
        KeyError: it has no column for the media or the text.
    """

    def __init__(self, file: Location, media: str, columns: Mapping[str, str]) -> None:
        self.file, self.media = file, media
        with open_plain(file) as opened:
            self._metadata = pq.read_metadata(opened)
        schema = self._metadata.schema.to_arrow_schema()
        for name in filter(None, (media, columns["text"])):
            if name not in schema.names:
                raise KeyError(f"{file.name} has no column '{name}'; its columns: {', '.join(schema.names)}")
        self.leaf = media_leaf(schema.field(media)) if media else ""
        taken = {column for name, column in columns.items() if media or name != "path"}
        read = (_read_as(field, self.leaf) for field in schema if field.name in taken or _is_plain(field.type))
        self._wanted = [column for column in read if column]

    def all(self) -> Iterator[tuple[int, int, Mapping[str, Any] | Unreadable]]:
        """(row group, row in it, record). A row group that is damaged gives its rows, each unreadable."""
        with open_plain(self.file) as opened, pq.ParquetFile(opened) as parquet:
            for group in range(self._metadata.num_row_groups):
                for number, record in enumerate(self._records(parquet, group)):
                    yield group, number, record

    def may_be_null(self, row_group: int) -> bool:
        """Whether bytes of a row group may be missing, as far as its statistics tell."""
        group = self._metadata.row_group(row_group)
        columns = (group.column(index) for index in range(group.num_columns))
        found = next(column for column in columns if column.path_in_schema == self.leaf)
        statistics = found.statistics
        return statistics is None or not statistics.has_null_count or statistics.null_count > 0

    def _records(self, parquet: pq.ParquetFile, group: int) -> Iterator[Mapping[str, Any] | Unreadable]:
        left = self._metadata.row_group(group).num_rows
        try:
            for batch in parquet.iter_batches(ROWS_PER_BATCH, row_groups=[group], columns=self._wanted):
                left -= batch.num_rows
                for record in _records_of(batch):
                    yield record if isinstance(record, Unreadable) else self._flat(record)
        except UnreachableError:
            raise
        except ARROW_ERRORS as error:
            yield from (Unreadable(f"row group {group}: {error}", Reason.INVALID_ARCHIVE) for _ in range(left))

    def _flat(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with the path of its media, where it has bytes and a path."""
        media = record.get(self.media) if self.leaf else None
        return {**record, self.media: media.get("path")} if isinstance(media, dict) else record


def _read_as(field: pa.Field, leaf: str) -> str:
    """What is read of a column: of media with bytes only its path, "" where it has none."""
    if not leaf or field.name != leaf.partition(".")[0]:
        return str(field.name)
    return f"{field.name}.path" if types.is_struct(field.type) and field.type.get_field_index("path") >= 0 else ""


def _is_plain(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in PLAIN_TYPES)


def _records_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | Unreadable]:
    """The rows of a batch; text that is no UTF-8 spoils its own row only."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for row in range(batch.num_rows):
            try:
                yield from batch.slice(row, 1).to_pylist()
            except UnicodeDecodeError as error:
                yield Unreadable(f"bytes that are no UTF-8: {error.object[:80]!r}", Reason.INVALID_UTF8)
