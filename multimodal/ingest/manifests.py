"""Manifest files as sources: CSV, TSV and JSON lines, one row per sample."""

from __future__ import annotations

import csv
import difflib
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from typing import Any, ClassVar, TextIO, get_args

from multimodal.errors import ConfigError, SourceError
from multimodal.ingest.locations import MOST_LINE_CHARS, TOO_LONG, Location, bounded_lines, first_line
from multimodal.ingest.options import Column
from multimodal.ingest.reader import Reader, Row, checked
from multimodal.ingest.reasons import Reason
from multimodal.sample import Modality, Task

STANDARD_COLUMNS: tuple[Column, ...] = get_args(Column)


LONG_LINE = f"a line of more than {MOST_LINE_CHARS} characters"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that could not be parsed."""

    detail: str
    reason: Reason = Reason.INVALID_ROW


class ManifestReader(Reader):
    """A table with named columns and one row per sample."""

    suffix: ClassVar[str]
    """What names of such files end with."""

    @classmethod
    def recognises(cls, path: Location, names: Sequence[str]) -> bool:
        """By its name; a `.txt` file by its first line."""
        if names:
            return False
        return path.suffix.lower() == cls.suffix or (path.suffix.lower() == ".txt" and cls._starts(first_line(path)))

    @classmethod
    def _starts(cls, header: bytes) -> bool:
        """Whether a `.txt` file with this first line is one."""
        return False

    @property
    def media_root(self) -> Location:
        """`media_root` of the source, else the manifest's own folder."""
        return self.source.media_root or self.source.path.parent

    def check(self) -> None:
        """All mapped columns, and those that the task cannot do without, must be there."""
        found = self.columns()
        given = self.mapped_columns()
        mapped = {name: given.get(name, name) for name in self._required()} | given
        for name, column in mapped.items():
            if column not in found:
                near = difflib.get_close_matches(column, found, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"map it with columns: {{{name}: <one of these>}}"
                raise ConfigError(
                    f"source '{self.source.name}': {self.source.path} has no column '{column}' for {name}; "
                    f"its columns: {', '.join(found)}; {hint}"
                )

    def mapped_columns(self) -> dict[Column, str]:
        """Standard name -> column, where they differ."""
        return dict(self.source.columns)

    def text_files(self) -> list[Location]:
        """The manifest."""
        return [self.source.path]

    @abstractmethod
    def columns(self) -> list[str]:
        """Names of the manifest's columns.

        Raises:
            SourceError: the manifest is empty, or a name occurs twice.
        """

    def _required(self) -> list[Column]:
        if self.source.task.modality is not Modality.TEXT:
            return ["path", "text"]
        if self.source.task is Task.INFILL:
            return ["text"]
        needed: list[Column] = ["input", "text"]
        if self.source.task is Task.RESTYLE and not self.source.style:
            needed.append("style")
        return needed

    def _standard_columns(self) -> dict[str, str]:
        """Standard name -> column; a column that is mapped to one name does not serve as another."""
        mapped = self.mapped_columns()
        taken = set(mapped.values())
        return {name: mapped.get(name, name) for name in STANDARD_COLUMNS if name in mapped or name not in taken}


class TextManifestReader(ManifestReader):
    """A manifest that is a text file; a subclass per format says how records are parsed."""

    @abstractmethod
    def _records(self) -> Iterator[Mapping[str, Any] | Unreadable]: ...

    def _all_rows(self) -> Iterator[Row]:
        columns = self._standard_columns()
        for number, record in enumerate(self._records(), start=1):
            yield record_row(f"{self.source.path.name}#{number}", record, columns)


class DelimitedReader(TextManifestReader):
    """Lines of fields under a header line."""

    delimiter: ClassVar[str]
    quoting: ClassVar[int] = csv.QUOTE_MINIMAL

    def columns(self) -> list[str]:
        """The first line."""
        with self._open() as lines:
            header = next(parse_delimited(lines, self.delimiter, self.quoting), None)
        if not isinstance(header, list):
            raise SourceError(f"source '{self.source.name}': {self.source.path} is empty; expected a header line")
        names = [name.strip() for name in header]
        if len(set(names)) < len(names):
            raise SourceError(f"source '{self.source.name}': {self.source.path} names a column twice: {names}")
        return names

    def _open(self) -> Any:
        return self.source.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")

    def _records(self) -> Iterator[Mapping[str, Any] | Unreadable]:
        names = self.columns()
        with self._open() as lines:
            for fields in islice(parse_delimited(lines, self.delimiter, self.quoting), 1, None):
                if isinstance(fields, Unreadable):
                    yield fields
                elif len(fields) != len(names):
                    yield Unreadable(f"{len(fields)} fields, the header has {len(names)}: {fields!r:.120}")
                else:
                    yield dict(zip(names, fields, strict=True))


class CsvReader(DelimitedReader):
    """Comma-separated, quoted as in RFC 4180."""

    suffix = ".csv"
    delimiter = ","

    @classmethod
    def _starts(cls, header: bytes) -> bool:
        return b"," in header and not TsvReader._starts(header) and not JsonlReader._starts(header)


class TsvReader(DelimitedReader):
    """Tab-separated; a quotation mark is a character like any other, as in the TSV files of text corpora."""

    suffix = ".tsv"
    delimiter = "\t"
    quoting = csv.QUOTE_NONE

    @classmethod
    def _starts(cls, header: bytes) -> bool:
        return b"\t" in header and not JsonlReader._starts(header)


class JsonlReader(TextManifestReader):
    """One JSON object per line; the columns are the keys of the first one."""

    suffix = ".jsonl"

    @classmethod
    def _starts(cls, header: bytes) -> bool:
        return header.lstrip().startswith(b"{")

    def columns(self) -> list[str]:
        """Keys of the first object."""
        first = next((record for record in self._records() if not isinstance(record, Unreadable)), None)
        if first is None:
            raise SourceError(f"source '{self.source.name}': {self.source.path} holds no JSON object")
        return list(first)

    def _records(self) -> Iterator[Mapping[str, Any] | Unreadable]:
        with self.source.path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for line in bounded_lines(lines):
                if line is TOO_LONG:
                    yield Unreadable(LONG_LINE, Reason.TEXT_TOO_LONG)
                elif line.strip():
                    yield _json_object(line)


def parse_delimited(lines: TextIO, delimiter: str, quoting: int) -> Iterator[list[str] | Unreadable]:
    """Lines of fields, the empty ones left out."""
    reader = csv.reader(bounded_lines(lines), delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # An unclosed quote has swallowed the rows behind it: each of them gets its own place in the ledger.
            span = f"{error} in lines {start} to {reader.line_num}"
            yield from (Unreadable(f"line {line}: {span}") for line in range(start, reader.line_num + 1))
            continue
        if fields:
            yield fields


def record_row(uri: str, record: Mapping[str, Any] | Unreadable, columns: Mapping[str, str]) -> Row:
    """The row of a record.

    Args:
        columns: standard name -> key of the record; its further keys are attributes.
    """
    if isinstance(record, Unreadable):
        return Row(uri, {}, {}, record.reason, record.detail)
    return checked(_row(uri, record, columns))


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, or holds a number that is none: NaN, or one too large such as 1e999.
        RecursionError: it is nested too deep.
    """
    return _JSON.decode(text)


def parse_json_at(text: str, place: int) -> tuple[Any, int]:
    """The value that begins at a place of a text, and the place where it ends; raises as `parse_json`."""
    return _JSON.raw_decode(text, place)


def _finite(number: str) -> float:
    value = float(number)
    if not isfinite(value):
        raise ValueError(f"{number} is no number that can be held")
    return value


_JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def _kind(value: Any) -> str:
    return str(value) if isinstance(value, float) else f"a {type(value).__name__}"


def _json_object(line: str) -> Mapping[str, Any] | Unreadable:
    try:
        record = parse_json(line)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"no JSON: {error}")
    return record if isinstance(record, dict) else Unreadable(f"a JSON {type(record).__name__}, expected an object")


def _row(uri: str, record: Mapping[str, Any], columns: Mapping[str, str]) -> Row:
    """Split a record into standard values and attributes."""
    values: dict[str, str] = {}
    rest = dict(record)
    for name, column in columns.items():
        value = rest.pop(column, None)
        if value is None:
            value = record.get(column)  # two standard columns may be one of the record's
        if isinstance(value, str):
            values[name] = value
        elif isinstance(value, dict | list | tuple) or (isinstance(value, float) and not isfinite(value)):
            return Row(uri, {}, {}, Reason.INVALID_ROW, f"{name} is {_kind(value)}, expected text")
        elif isinstance(value, bytes):
            values[name] = value.decode("utf-8", "surrogateescape")
        elif value is not None:
            values[name] = str(value)
    return Row(uri, values, rest)
