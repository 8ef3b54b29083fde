"""The long lists of a JSON file, entry by entry: no more of the file than one entry is held.

Each entry goes through the decoder of Python's own `json`, and what is wrong with one stays with it: bytes that are no
UTF-8, lone surrogates, numbers that are none, nesting, length. Event parsers were tried and did worse with hostile
files (conf/LOG.md, 2026-11-22): 100 KB of opening brackets cost ijson all memory.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from multimodal.ingest.locations import Location, open_plain
from multimodal.ingest.manifests import Unreadable, parse_json, parse_json_at
from multimodal.ingest.reasons import Reason

MOST_ENTRY_CHARS = 1 << 20
SLOW_VALUES = 32
"""Read one by one after something was wrong: to make an error of the decoder takes as long as reading many values."""
MOST_DEPTH = 100_000
"""Brackets within each other in what is passed over; the decoder gives up long before."""
CHARS_PER_READ = 1 << 18

BLANKS = re.compile(r"[ \t\n\r]*")
COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
STRING = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
MARK, DEEP_MARK = re.compile(r'["\[\]{},:]'), re.compile(r'["\[\]{}]')


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a list.

    Args:
        name: of the list.
        number: of the entry in it, from 0.
        value: as `json` decodes it, or an `Unreadable` that says what is wrong with it.
    """

    name: str
    number: int
    value: Any


class JsonLists:
    """The entries of the lists that the object of a JSON file holds under some names, in the order of the file.

    Args:
        file: the JSON file, in UTF-8, UTF-16 or UTF-32.
        names: of the lists; all else is passed over.
    """

    def __init__(self, file: Location, names: Collection[str]) -> None:
        self._file, self._names = file, names
        self.lists: set[str] = set()
        """Names that lists were found under, so far."""
        self.others: set[str] = set()
        """Names that something else was found under, so far, null left out."""

    def __iter__(self) -> Iterator[Entry]:
        """The entries.

        Raises:
            ValueError: the file is no JSON, or holds one of the names twice.
            OSError: it cannot be read.
        """
        with open_plain(self._file) as opened:
            encoding = json.detect_encoding(opened.read(4))
            opened.seek(0)
            yield from self._entries(_Window(io.TextIOWrapper(opened, encoding, errors="surrogateescape")))

    def _entries(self, window: _Window) -> Iterator[Entry]:
        if window.next_mark("{[") == "[":
            return
        mark = ""
        while mark != "}":
            if not mark and window.takes("}"):
                break
            name = window.value()
            if not isinstance(name, str):
                raise ValueError(f"a name was expected {window.place}")
            window.next_mark(":")
            if name in self.lists | self.others:
                raise ValueError(f"'{name}' stands twice in it")
            if name in self._names and window.takes("["):
                self.lists.add(name)
                yield from self._list(window, name)
            elif name in self._names:
                if window.value() is not None:
                    self.others.add(name)
            else:
                window.skip()
            mark = window.next_mark(",}")
        window.end()

    def _list(self, window: _Window, name: str) -> Iterator[Entry]:
        if not window.takes("]"):
            for number, value in enumerate(window.values()):
                yield Entry(name, number, value)


class _Window:
    """What is held of a text: from the place that has been reached to the end of what has been read."""

    def __init__(self, text: TextIO) -> None:
        self._text, self._held, self._at, self._dropped = text, "", 0, 0

    @property
    def place(self) -> str:
        """Where the window is, for messages."""
        return f"at character {self._dropped + self._at + 1}"

    def next_mark(self, marks: str) -> str:
        """Pass one of some characters."""
        found = self._peek()
        if not found or found not in marks:
            shown = f"'{found}' stands" if found else "the file ends"
            raise ValueError(f"{shown} {self.place}, where one of {' '.join(marks)} was expected")
        self._at += 1
        return found

    def takes(self, mark: str) -> bool:
        """Pass a character if it comes next."""
        found = self._peek() == mark
        self._at += found
        return found

    def end(self) -> None:
        """Nothing but blanks may be left."""
        if self._peek():
            raise ValueError(f"more than one value, {self.place}")

    def value(self) -> Any:
        """Pass one value: what it is, or what is wrong with it where its brackets tell where it ends."""
        self._peek()
        skipper, known = _Skipper(), self._at
        while (end := skipper.end(self._held, known)) is None:
            if len(self._held) - self._at > MOST_ENTRY_CHARS:
                self._at = len(self._held)
                self._pass(skipper)
                return Unreadable(f"an entry of more than {MOST_ENTRY_CHARS} characters", Reason.TEXT_TOO_LONG)
            known = len(self._held) - self._at
            self._read()
        if end == self._at:
            raise ValueError(f"a value was expected {self.place}")
        text, self._at = self._held[self._at : end], end
        try:
            return parse_json(text)
        except RecursionError:
            return Unreadable("values nested too deep to be read", Reason.JSON_TOO_DEEP)
        except ValueError as error:
            return Unreadable(f"no JSON: {error}")

    def values(self) -> Iterator[Any]:
        """Pass the values of a list and the bracket behind them."""
        mark = ","
        while mark == ",":
            yield from self._plain_values()
            for _ in range(SLOW_VALUES):
                yield self.value()
                mark = self.next_mark(",]")
                if mark == "]":
                    break

    def _plain_values(self) -> Iterator[Any]:
        """Pass values as long as nothing is wrong with them and there is a comma behind: three times as fast."""
        self._peek()
        try:
            while True:
                found, end = parse_json_at(self._held, self._at)
                comma = COMMA.match(self._held, end)
                if comma is None:
                    return
                self._at = comma.end()
                yield found
        except (ValueError, RecursionError):
            return

    def skip(self) -> None:
        """Pass one value of any length."""
        self._peek()
        self._pass(_Skipper())

    def _pass(self, skipper: _Skipper) -> None:
        while (end := skipper.end(self._held, self._at)) is None:
            self._at = len(self._held)
            self._read()
        self._at = end

    def _peek(self) -> str:
        """The next character that is no blank, "" at the end."""
        while True:
            found = BLANKS.match(self._held, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on, and drop what has been passed."""
        self._dropped += self._at
        more = self._text.read(CHARS_PER_READ)
        self._held, self._at = self._held[self._at :] + more, 0
        return bool(more)

    def _read(self) -> None:
        if not self._more():
            raise ValueError("the file ends within a value")


class _Skipper:
    """Finds the end of a value by its brackets and quotation marks, through as many pieces of text as it takes."""

    def __init__(self) -> None:
        self._depth, self._in_string, self._passed = 0, False, 0

    def end(self, text: str, at: int) -> int | None:
        """Where the value ends in a piece of text: at the mark behind it; None where it goes on in the next piece."""
        at += self._passed
        self._passed = 0
        while at < len(text):
            if self._in_string:
                found = STRING.match(text, at)
                at = found.end() if found else at
                if at >= len(text):
                    break
                # A quotation mark ends the string; a backslash here is the last character, and takes the next along.
                self._in_string = text[at] == "\\"
                at += 2 if self._in_string else 1
                continue
            mark = (DEEP_MARK if self._depth else MARK).search(text, at)
            if mark is None:
                return None
            if not self._depth and mark[0] in ":,]}":
                return mark.start()
            at = mark.end()
            self._in_string = mark[0] == '"'
            self._depth += (mark[0] in "[{") - (mark[0] in "]}")
            if self._depth > MOST_DEPTH:
                raise ValueError(f"values nested deeper than {MOST_DEPTH}")
        self._passed = at - len(text)
        return None
