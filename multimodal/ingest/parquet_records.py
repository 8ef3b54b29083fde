"""The records of one Parquet file without the bytes of its media: those are read cell by cell, to be decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from multimodal.errors import UnreachableError
from multimodal.ingest.cells import ARROW_ERRORS
from multimodal.ingest.locations import Location, open_plain
from multimodal.ingest.manifests import Unreadable
from multimodal.ingest.parquet_pages import Page, pages_of
from multimodal.ingest.reasons import Reason

ROWS_PER_BATCH = 1024
BYTES_TYPES = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
MOST_BATCH_BYTES = 64 << 20
MOST_ROW_BYTES = 8 << 20
"""Of texts; a row of more is quarantined, however little room it takes in the file."""
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
        read = (_read_as(field, media, self.leaf) for field in schema if field.name in taken or _is_plain(field.type))
        self._wanted = [column for column in read if column]
        leaves = (self._metadata.schema.column(index) for index in range(len(self._metadata.schema)))
        below = tuple(f"{name}." for name in self._wanted)
        self._texts = [
            leaf.path
            for leaf in leaves
            if leaf.physical_type == "BYTE_ARRAY" and (leaf.path in self._wanted or leaf.path.startswith(below))
        ]

    def all(self) -> Iterator[tuple[int, int, Mapping[str, Any] | Unreadable]]:
        """(row group, row in it, record). A row group that is damaged gives its rows, each unreadable."""
        with open_plain(self.file) as opened, pq.ParquetFile(opened) as parquet:
            for group in range(self._metadata.num_row_groups):
                for number, record in enumerate(self._records(opened, parquet, group)):
                    yield group, number, record

    def may_be_null(self, row_group: int) -> bool:
        """Whether bytes of a row group may be missing, as far as its statistics tell."""
        group = self._metadata.row_group(row_group)
        columns = (group.column(index) for index in range(group.num_columns))
        found = next(column for column in columns if column.path_in_schema == self.leaf)
        statistics = found.statistics
        return statistics is None or not statistics.has_null_count or statistics.null_count > 0

    def _records(self, opened: Any, parquet: pq.ParquetFile, group: int) -> Iterator[Mapping[str, Any] | Unreadable]:
        left = self._metadata.row_group(group).num_rows
        try:
            pages = self._pages(opened, group)
            problem = next(filter(None, (page.problem for _, page in pages)), "")
            if problem:
                yield from (Unreadable(f"row group {group}: {problem}", Reason.TOO_LARGE) for _ in range(left))
                return
            for batch in self._batches(opened, parquet, group, pages):
                left -= batch.num_rows
                for record in _records_of(batch):
                    yield record if isinstance(record, Unreadable) else self._flat(record)
        except UnreachableError:
            raise
        except ARROW_ERRORS as error:
            yield from (Unreadable(f"row group {group}: {error}", Reason.INVALID_ARCHIVE) for _ in range(left))

    def _pages(self, opened: Any, group: int) -> list[tuple[str, Page]]:
        """Column and page, of all pages that will be read."""
        metadata = self._metadata.row_group(group)
        below = tuple(f"{name}." for name in self._wanted)
        columns = (metadata.column(index) for index in range(metadata.num_columns))
        wanted = [one for one in columns if one.path_in_schema in self._wanted or one.path_in_schema.startswith(below)]
        return [(column.path_in_schema, page) for column in wanted for page in pages_of(opened, [column])]

    def _batches(
        self, opened: Any, parquet: pq.ParquetFile, group: int, pages: list[tuple[str, Page]]
    ) -> Iterator[pa.RecordBatch]:
        """The batches of a row group, none of much more than `MOST_BATCH_BYTES`.

        A text that stands once in a dictionary page may be meant by every row: a file of 800 bytes gives a gigabyte.
        Columns with a long one are read as dictionaries; for all others that would cost more than the reading.
        """
        num_rows = self._metadata.row_group(group).num_rows
        text_bytes = sum(page.uncompressed for column, page in pages if column in self._texts)
        rows = min(ROWS_PER_BATCH, max(1, MOST_BATCH_BYTES * num_rows // max(1, text_bytes)))
        with self._as_dictionaries(opened, self._texts) as probed:
            first = next(probed.iter_batches(1, row_groups=[group], columns=self._wanted), None)
        columns = {} if first is None else dict(zip(first.schema.names, first.columns, strict=True))
        wide = tuple(name for name, column in columns.items() if not all(map(_is_narrow, _leaves(column))))
        chosen = [leaf for leaf in self._texts if leaf.startswith(tuple(f"{name}." for name in wide)) or leaf in wide]
        if not chosen:
            yield from parquet.iter_batches(rows, row_groups=[group], columns=self._wanted)
            return
        with self._as_dictionaries(opened, chosen) as wide_read:
            yield from wide_read.iter_batches(rows, row_groups=[group], columns=self._wanted)

    def _as_dictionaries(self, opened: Any, leaves: list[str]) -> pq.ParquetFile:
        # Buffered, so that a look at the first row does not read the whole column.
        return pq.ParquetFile(opened, metadata=self._metadata, read_dictionary=leaves, buffer_size=1 << 16)

    def _flat(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with the path of its media, where it has bytes and a path."""
        media = record.get(self.media) if self.leaf else None
        return {**record, self.media: media.get("path")} if isinstance(media, dict) else record


def _read_as(field: pa.Field, media: str, leaf: str) -> str:
    """What is read of a column: of media with bytes only its path, "" where it has none."""
    if not leaf or field.name != media:  # whose name may hold a dot
        return str(field.name)
    return f"{field.name}.path" if types.is_struct(field.type) and field.type.get_field_index("path") >= 0 else ""


def _is_plain(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in PLAIN_TYPES)


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    """The arrays of plain values that an array is made of."""
    kind = array.type
    if types.is_map(kind):
        yield from (array.keys, array.items)
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_struct(kind):
        children = array.flatten()
        for child in children if types.is_struct(kind) else [children]:
            yield from _leaves(child)
    else:
        yield array


def _is_narrow(leaf: pa.Array) -> bool:
    """Whether so many rows of the dictionary's longest value as a batch has are no more than a batch may have.

    A dictionary that holds no more than the values of the row itself may be none of the file's: a page without one
    may stand before one that has it.
    """
    if not isinstance(leaf, pa.DictionaryArray):
        return True
    if len(leaf.dictionary) <= len(leaf):
        return False
    return not _is_bytes(leaf.type.value_type) or _longest(leaf.dictionary) <= MOST_BATCH_BYTES // ROWS_PER_BATCH


def _longest(texts: pa.Array) -> int:
    return int(pc.max(pc.binary_length(texts)).as_py() or 0)


def _bytes_of(batch: pa.RecordBatch) -> int:
    """What the values of a batch take once each row has its own."""
    return sum(_leaf_bytes(leaf) for column in batch.columns for leaf in _leaves(column))


def _leaf_bytes(leaf: pa.Array) -> int:
    if not isinstance(leaf, pa.DictionaryArray) or not _is_bytes(leaf.type.value_type):
        return int(leaf.nbytes)
    return pc.sum(pc.binary_length(leaf.dictionary).cast(pa.int64()).take(leaf.indices)).as_py() or 0


def _is_bytes(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in BYTES_TYPES)


def _records_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | Unreadable]:
    """The rows of a batch; text that is no UTF-8, or too long, and a date in no calendar spoil their own row only."""
    if _bytes_of(batch) <= MOST_ROW_BYTES:
        try:
            yield from _decoded(batch).to_pylist()
        except (ValueError, OverflowError):
            pass  # each row is tried below
        else:
            return
    for row in range(batch.num_rows):
        yield _record_of(batch.slice(row, 1))


def _record_of(one: pa.RecordBatch) -> dict[str, Any] | Unreadable:
    size = _bytes_of(one)
    if size > MOST_ROW_BYTES:
        return Unreadable(f"texts of {size} bytes, at most {MOST_ROW_BYTES}", Reason.TEXT_TOO_LONG)
    try:
        (record,) = _decoded(one).to_pylist()
    except UnicodeDecodeError as error:
        return Unreadable(f"bytes that are no UTF-8: {error.object[:80]!r}", Reason.INVALID_UTF8)
    except (ValueError, OverflowError) as error:
        return Unreadable(f"a value that cannot be read: {error}")
    return dict(record)


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with values where there are dictionaries, which take much longer to become Python's."""
    if not any(isinstance(column, pa.DictionaryArray) for column in batch.columns):
        return batch
    columns = [
        column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
