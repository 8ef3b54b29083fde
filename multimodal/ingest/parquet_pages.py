"""How much the pages of a Parquet column unpack to, told before any of it is unpacked.

Arrow makes room for whatever a page's header states, and the footer's sum may lie: 800 bytes give a dictionary of
hundreds of megabytes, of which Arrow holds several copies. The headers are Thrift's compact protocol, as in
parquet.thrift of the Apache Parquet format.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

MOST_PAGE_BYTES = 32 << 20
MOST_EXPANSION = 16
"""A page of more bytes must take this share of them in the file. JPEG, FLAC and the like do not shrink at all, and
a writer that was given a thousand pictures at once puts all of them into one page."""
HEADER_BYTES = (1 << 9, 1 << 14, 1 << 19, 16 << 20)
"""Looked at for a header, which may hold the column's least and greatest value; Arrow gives up at 16 MiB too."""

STOP, TRUE, FALSE, BYTE, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12
UNCOMPRESSED_SIZE, COMPRESSED_SIZE = 2, 3
"""Fields of `PageHeader`."""
MOST_NESTING = 16


@dataclass(frozen=True, slots=True)
class Page:
    """Bytes of one page, in memory and in the file."""

    uncompressed: int
    compressed: int

    @property
    def problem(self) -> str:
        """Why the page must not be unpacked, "" where it may be."""
        most = max(MOST_PAGE_BYTES, MOST_EXPANSION * self.compressed)
        if self.uncompressed <= most:
            return ""
        return f"a page of {self.compressed} bytes that unpacks to {self.uncompressed}, at most {most}"


def pages_of(opened: Any, columns: Iterable[pq.ColumnChunkMetaData]) -> list[Page]:
    """The pages of some columns of a row group.

    Args:
        opened: the Parquet file, open for reading bytes; its position changes.

    Raises:
        ValueError: a header cannot be read.
        OSError: the file cannot.
    """
    return [page for column in columns for page in _pages(opened, column)]


def _pages(opened: Any, column: pq.ColumnChunkMetaData) -> list[Page]:
    starts = (column.data_page_offset, column.dictionary_page_offset if column.has_dictionary_page else None)
    place = min(start for start in starts if start)
    end = place + column.total_compressed_size
    pages = []
    while place < end:
        page, length = _header(opened, place, end)
        pages.append(page)
        place += length + page.compressed
    return pages


def _header(opened: Any, place: int, end: int) -> tuple[Page, int]:
    """The page at a place of the file, and the bytes of its header."""
    for most in HEADER_BYTES:
        opened.seek(place)
        data = opened.read(min(most, end - place))
        try:
            header = _Compact(data)
            sizes = header.integers()
        except IndexError:
            if len(data) < most:
                break
            continue
        found = Page(sizes.get(UNCOMPRESSED_SIZE, -1), sizes.get(COMPRESSED_SIZE, -1))
        if found.uncompressed < 0 or found.compressed < 0:
            break
        return found, header.place
    raise ValueError(f"no page header at byte {place}")


class _Compact:
    """Reads one struct of Thrift's compact protocol; raises IndexError where the bytes end too soon."""

    def __init__(self, data: bytes) -> None:
        self._data, self.place = data, 0

    def integers(self, depth: int = 0) -> dict[int, int]:
        """The integer fields of a struct, by number; all others are passed."""
        if depth > MOST_NESTING:
            raise ValueError("a page header that is nested too deep")
        found: dict[int, int] = {}
        number = 0
        while (byte := self._byte()) != STOP:
            kind = byte & 15
            number = number + (byte >> 4) if byte >> 4 else self._integer()
            if BYTE < kind <= I64:
                found[number] = self._integer()
            elif kind not in (TRUE, FALSE):  # whose value is their kind
                self._pass(kind, depth)
        return found

    def _pass(self, kind: int, depth: int) -> None:
        if kind in (TRUE, FALSE, BYTE):
            self._skip(1)
        elif kind <= I64:
            self._integer()
        elif kind == DOUBLE:
            self._skip(8)
        elif kind == BINARY:
            self._skip(self._varint())
        elif kind in (LIST, SET):
            byte = self._byte()
            for _ in range(byte >> 4 if byte >> 4 < 15 else self._varint()):
                self._pass(byte & 15, depth + 1)
        elif kind == STRUCT:
            self.integers(depth + 1)
        else:
            raise ValueError(f"a page header with a field of kind {kind}")

    def _skip(self, size: int) -> None:
        self.place += size
        if self.place > len(self._data):
            raise IndexError(self.place)

    def _byte(self) -> int:
        self._skip(1)
        return self._data[self.place - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
