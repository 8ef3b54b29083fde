"""What every reader gives: a stream of raw rows, each with what is wrong with it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from multimodal.ingest.options import SourceOptions
from multimodal.ingest.reasons import Reason
from multimodal.sample import Modality


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source, as found.

    Args:
        uri: `<manifest>#<row, from 1>`, or the media path in a folder (`#<line>` for a sidecar of several lines).
        values: standard name -> value; absent where the source has no such column.
        attributes: the further columns.
        problem: reason to quarantine the row as it is, None where it could be read.
        detail: what exactly was found.
    """

    uri: str
    values: Mapping[str, str]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    problem: Reason | None = None
    detail: str = ""


class Reader(ABC):
    """One source as a stream of rows."""

    def __init__(self, source: SourceOptions) -> None:
        self.source = source

    @property
    @abstractmethod
    def media_root(self) -> Path:
        """Folder that the rows' paths are relative to."""

    @abstractmethod
    def check(self) -> None:
        """Refuse a source that cannot serve its task.

        Raises:
            ConfigError: a column that the task needs is not there.
            SourceError: the source is empty or cannot be read.
        """

    @abstractmethod
    def text_files(self) -> list[Path]:
        """The files that the rows themselves (not their media) come from."""

    @abstractmethod
    def _all_rows(self) -> Iterator[Row]: ...

    def rows(self) -> Iterator[Row]:
        """All rows, at most `source.limit`."""
        return islice(self._all_rows(), self.source.limit)

    def media_path(self, row: Row) -> Path | None:
        """Where the media of a row lies, None where the task has none or the row names none."""
        name = row.values.get("path", "").strip()
        return self.media_root / name if name and self.source.task.modality is not Modality.TEXT else None


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
