"""What every reader gives: a stream of raw rows, each with what is wrong with it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from multimodal.ingest.locations import Location, join
from multimodal.ingest.options import Column, SourceOptions
from multimodal.ingest.reasons import Reason
from multimodal.ingest.refs import ArchiveMember, MediaRef, ParquetCell, name_problem
from multimodal.sample import Modality

NAMES_KEPT = 2**18
"""A reader remembers so many of the paths that its rows name."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source, as found.

    Args:
        uri: `<file>#<place>`, the file relative to the source. The place is the row or line (from 1) of a text file,
            the offset in bytes of an archive's member, `<row group>.<row>` of Parquet, or a JSON pointer (RFC 6901).
            In a folder it is the media path (`#<line>` for a sidecar of several lines).
        values: standard name -> value; absent where the source has no such column.
        attributes: the further columns.
        problem: reason to quarantine the row as it is, None where it could be read.
        detail: what exactly was found.
        media: where the row's media lies, where it has no file of its own.
    """

    uri: str
    values: Mapping[str, str]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    problem: Reason | None = None
    detail: str = ""
    media: ArchiveMember | ParquetCell | None = None


class Reader(ABC):
    """One source as a stream of rows."""

    def __init__(self, source: SourceOptions) -> None:
        self.source = source
        self._named: dict[str, Location] = {}

    @classmethod
    @abstractmethod
    def recognises(cls, path: Location, names: Sequence[str]) -> bool:
        """Whether what lies at a path looks like a source of this kind.

        Args:
            names: relative names of all files under a folder; none for a file.
        """

    @property
    @abstractmethod
    def media_root(self) -> Location:
        """Folder that the rows' paths are relative to."""

    @abstractmethod
    def check(self) -> None:
        """Refuse a source that cannot serve its task.

        Raises:
            ConfigError: a column that the task needs is not there.
            SourceError: the source is empty or cannot be read.
        """

    @abstractmethod
    def text_files(self) -> list[Location]:
        """The files that the rows themselves (not their media) come from."""

    @abstractmethod
    def _all_rows(self) -> Iterator[Row]: ...

    def rows(self) -> Iterator[Row]:
        """All rows, at most `source.limit`."""
        return islice(self._all_rows(), self.source.limit)

    def media_path(self, row: Row) -> MediaRef | None:
        """Where the media of a row lies, None where the task has none or the row names none."""
        if self.source.task.modality is Modality.TEXT:
            return None
        return row.media or self._ref(row, "path")

    def picture_path(self, row: Row) -> MediaRef | None:
        """Where the picture beside a row's content lies, None where there is none."""
        return self._ref(row, "picture")

    def _ref(self, row: Row, column: str) -> MediaRef | None:
        name = row.values.get(column, "").strip()
        if not name:
            return None
        # Rows are read twice, to be hashed and to be settled, and paths are dear to make.
        location = self._named.get(name)
        if location is None:
            location = join(self.media_root, name)
            if len(self._named) < NAMES_KEPT:
                self._named[name] = location
        return location


def checked(row: Row) -> Row:
    """The row, or its quarantine where it holds bytes that are no UTF-8 (kept until here as surrogates)."""
    try:
        "".join(row.values.values()).encode()
        if row.attributes:
            json.dumps(row.attributes, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        shown = error.object[max(0, error.start - 20) : error.end + 20].encode("utf-8", "backslashreplace").decode()
        return Row(row.uri, {}, {}, Reason.INVALID_UTF8, f"bytes that are no UTF-8 at ...{shown}...")
    except RecursionError:
        return Row(row.uri, {}, {}, Reason.JSON_TOO_DEEP, "values nested too deep to be written down")
    return row


def within(row: Row, *columns: Column) -> Row:
    """The row, or its quarantine where a file that it names in one of the columns may lie outside of the source."""
    for column in columns:
        name = row.values.get(column)
        # Without its blanks, as `_ref` takes it: " /etc" is absolute then.
        problem = name_problem(name.strip()) if name else ""
        if problem:
            return Row(row.uri, {}, {}, Reason.UNSAFE_NAME, f"{column} {problem}")
    return row
