"""Readers: one source in, a stream of raw rows out. What is wrong with one row travels with it; a source that
cannot be read at all, or lacks a column that it needs, is refused before any work."""

from __future__ import annotations

import csv
import difflib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from multimodal.errors import ConfigError, SourceError
from multimodal.ingest.options import Column, SourceOptions
from multimodal.ingest.reasons import Reason
from multimodal.sample import Modality, Task

STANDARD_COLUMNS: tuple[Column, ...] = get_args(Column)
SIDECAR = ".txt"


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


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that could not be parsed."""

    detail: str


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


class FolderReader(Reader):
    """A folder of media, at any depth; the text of `a/b.jpg` is in `a/b.txt`, one caption per line."""

    @property
    def media_root(self) -> Path:
        """The folder itself."""
        return self.source.path

    def check(self) -> None:
        """A folder holds media with sidecars: it cannot serve text tasks."""
        if self.source.task.modality is Modality.TEXT:
            needs = f"task {self.source.task} needs a manifest file; a folder serves caption and transcribe"
            raise ConfigError(f"source '{self.source.name}': {self.source.path} is a folder, {needs}")
        if not self._media():
            raise SourceError(f"source '{self.source.name}': no media in {self.source.path}")

    def text_files(self) -> list[Path]:
        """All sidecars."""
        return [path for path in self._files() if path.suffix == SIDECAR]

    def _files(self) -> list[Path]:
        found = (path for path in self.source.path.rglob("*") if not path.name.startswith(".") and not path.is_dir())
        return sorted(found, key=lambda path: path.relative_to(self.source.path).as_posix())

    def _media(self) -> list[Path]:
        """Media files, and sidecars whose media is missing: those are rows too."""
        files = self._files()
        stems = {path.with_suffix("") for path in files if path.suffix != SIDECAR}
        return [path for path in files if path.suffix != SIDECAR or path.with_suffix("") not in stems]

    def _all_rows(self) -> Iterator[Row]:
        for path in self._media():
            yield from self._rows_of(path)

    def _rows_of(self, path: Path) -> Iterator[Row]:
        name, sidecar = path.relative_to(self.source.path).as_posix(), path.with_suffix(SIDECAR)
        if path == sidecar:
            yield Row(name, {}, {}, Reason.MISSING_FILE, "a sidecar without media")
            return
        if not sidecar.is_file():
            yield Row(name, {"path": name}, {}, Reason.EMPTY_TEXT, f"no sidecar {sidecar.name}")
            return
        lines = [line for line in sidecar.read_text("utf-8-sig", "surrogateescape").splitlines() if line.strip()]
        for number, line in enumerate(lines or [""], start=1):
            uri = f"{name}#{number}" if len(lines) > 1 else name
            yield _checked(Row(uri, {"path": name, "text": line}))


class ManifestReader(Reader):
    """A file with one row per sample; a subclass per file format says how records are parsed."""

    @property
    def media_root(self) -> Path:
        """`media_root` of the source, else the manifest's own folder."""
        return self.source.media_root or self.source.path.parent

    def check(self) -> None:
        """All mapped columns, and those that the task cannot do without, must be there."""
        found = self.columns()
        mapped = {name: self.source.columns.get(name, name) for name in self._required()} | dict(self.source.columns)
        for name, column in mapped.items():
            if column not in found:
                near = difflib.get_close_matches(column, found, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"map it with columns: {{{name}: <one of these>}}"
                raise ConfigError(
                    f"source '{self.source.name}': {self.source.path} has no column '{column}' for {name}; "
                    f"its columns: {', '.join(found)}; {hint}"
                )

    def text_files(self) -> list[Path]:
        """The manifest."""
        return [self.source.path]

    @abstractmethod
    def columns(self) -> list[str]:
        """Names of the manifest's columns.

        Raises:
            SourceError: the manifest is empty, or a name occurs twice.
        """

    @abstractmethod
    def _records(self) -> Iterator[Mapping[str, Any] | Unreadable]: ...

    def _required(self) -> list[Column]:
        if self.source.task.modality is not Modality.TEXT:
            return ["path", "text"]
        if self.source.task is Task.INFILL:
            return ["text"]
        needed: list[Column] = ["input", "text"]
        if self.source.task is Task.RESTYLE and not self.source.style:
            needed.append("style")
        return needed

    def _all_rows(self) -> Iterator[Row]:
        columns = self._standard_columns()
        for number, record in enumerate(self._records(), start=1):
            uri = f"{self.source.path.name}#{number}"
            if isinstance(record, Unreadable):
                yield Row(uri, {}, {}, Reason.INVALID_ROW, record.detail)
            else:
                yield _checked(_row(uri, record, columns))

    def _standard_columns(self) -> dict[str, str]:
        """Standard name -> column; a column that is mapped to one name does not serve as another."""
        mapped = dict(self.source.columns)
        taken = set(mapped.values())
        return {name: mapped.get(name, name) for name in STANDARD_COLUMNS if name in mapped or name not in taken}


class DelimitedReader(ManifestReader):
    """Lines of fields under a header line."""

    delimiter = ","
    quoting: int = csv.QUOTE_MINIMAL

    def columns(self) -> list[str]:
        """The first line."""
        with self._open() as lines:
            header = next(self._parse(lines), None)
        if not isinstance(header, list):
            raise SourceError(f"source '{self.source.name}': {self.source.path} is empty; expected a header line")
        names = [name.strip() for name in header]
        if len(set(names)) < len(names):
            raise SourceError(f"source '{self.source.name}': {self.source.path} names a column twice: {names}")
        return names

    def _open(self) -> Any:
        return self.source.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")

    def _parse(self, lines: Iterator[str]) -> Iterator[list[str] | Unreadable]:
        reader = csv.reader(lines, delimiter=self.delimiter, quoting=self.quoting)  # type: ignore[arg-type]
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Unreadable(f"line {reader.line_num}: {error}")
                continue
            if fields:
                yield fields

    def _records(self) -> Iterator[Mapping[str, Any] | Unreadable]:
        names = self.columns()
        with self._open() as lines:
            for fields in islice(self._parse(lines), 1, None):
                if isinstance(fields, Unreadable):
                    yield fields
                elif len(fields) != len(names):
                    yield Unreadable(f"{len(fields)} fields, the header has {len(names)}: {fields!r:.120}")
                else:
                    yield dict(zip(names, fields, strict=True))


class CsvReader(DelimitedReader):
    """Comma-separated, quoted as in RFC 4180."""


class TsvReader(DelimitedReader):
    """Tab-separated; a quotation mark is a character like any other, as in the TSV files of text corpora."""

    delimiter = "\t"
    quoting = csv.QUOTE_NONE


class JsonlReader(ManifestReader):
    """One JSON object per line; the columns are the keys of the first one."""

    def columns(self) -> list[str]:
        """Keys of the first object."""
        first = next((record for record in self._records() if not isinstance(record, Unreadable)), None)
        if first is None:
            raise SourceError(f"source '{self.source.name}': {self.source.path} holds no JSON object")
        return list(first)

    def _records(self) -> Iterator[Mapping[str, Any] | Unreadable]:
        with self.source.path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for line in lines:
                if line.strip():
                    yield _json_object(line)


READERS: dict[str, type[Reader]] = {".csv": CsvReader, ".tsv": TsvReader, ".jsonl": JsonlReader}
"""Manifest suffix -> reader; `.txt` is recognised by its first line."""


def open_reader(source: SourceOptions) -> Reader:
    """The reader of a source, checked.

    Raises:
        SourceError: nothing is at the path, or it is neither a folder nor a manifest of a known kind.
        ConfigError: a needed column is not there.
    """
    for path in (source.path, *source.split_files.values(), *([source.media_root] if source.media_root else [])):
        if not path.exists():
            raise SourceError(f"source '{source.name}': nothing at {path}; correct the path in the configuration")
    reader = _reader_kind(source)(source)
    reader.check()
    return reader


def _reader_kind(source: SourceOptions) -> type[Reader]:
    if source.path.is_dir():
        return FolderReader
    suffix = source.path.suffix.lower()
    if suffix in READERS:
        return READERS[suffix]
    with source.path.open("rb") as file:
        header = file.readline(1 << 16)
    if header.lstrip().startswith(b"{"):
        return JsonlReader
    if b"\t" in header or b"," in header:
        return TsvReader if b"\t" in header else CsvReader
    known = f"known: {', '.join(READERS)}, or .txt with a header line"
    raise SourceError(f"source '{source.name}': {source.path} is no folder and no manifest; {known}")


def _json_object(line: str) -> Mapping[str, Any] | Unreadable:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"no JSON: {error}")
    return record if isinstance(record, dict) else Unreadable(f"a JSON {type(record).__name__}, expected an object")


def _row(uri: str, record: Mapping[str, Any], columns: Mapping[str, str]) -> Row:
    """Split a record into standard values and attributes."""
    standard = {name: record[column] for name, column in columns.items() if record.get(column) is not None}
    taken = set(columns.values())
    attributes = {key: value for key, value in record.items() if key not in taken}
    for name, value in standard.items():
        if isinstance(value, dict | list):
            return Row(uri, {}, {}, Reason.INVALID_ROW, f"{name} is a JSON {type(value).__name__}, expected text")
    return Row(uri, {name: str(value) for name, value in standard.items()}, attributes)


def _checked(row: Row) -> Row:
    """The row, or its quarantine where it holds bytes that are no UTF-8 (kept until here as surrogates)."""
    try:
        "".join(row.values.values()).encode()
        if row.attributes:
            json.dumps(row.attributes, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        shown = error.object[max(0, error.start - 20) : error.end + 20].encode("utf-8", "backslashreplace").decode()
        return Row(row.uri, {}, {}, Reason.INVALID_UTF8, f"bytes that are no UTF-8 at ...{shown}...")
    return row
