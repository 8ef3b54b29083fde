"""The Common Voice layout (Ardila et al. 2020): train.tsv, dev.tsv and test.tsv beside a folder of clips."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from multimodal.errors import SourceError
from multimodal.ingest.layouts.layout import LayoutReader
from multimodal.ingest.locations import MOST_LINE_CHARS, Location
from multimodal.ingest.manifests import Unreadable, parse_delimited
from multimodal.ingest.reader import Row
from multimodal.ingest.reasons import Reason
from multimodal.sample import Task

OFFICIAL = ("train", "dev", "test")
CLIPS = "clips"
SENTENCE, CLIENT, PATH = "sentence", "client_id", "path"


class CommonVoiceReader(LayoutReader):
    """A language's folder: the three official lists, or `validated.tsv` where there are none. The speaker is the group.

    Or one of its lists: then that alone is read.
    """

    task = Task.TRANSCRIBE
    looked_for = "train.tsv, dev.tsv, test.tsv or validated.tsv"

    @classmethod
    def recognises(cls, path: Location, names: Sequence[str]) -> bool:
        """A folder with clips and one of the lists."""
        has_list = any(f"{name}.tsv" in names for name in (*OFFICIAL, "validated"))
        return has_list and any(name.startswith(f"{CLIPS}/") for name in names)

    def check(self) -> None:
        """As of any layout; each list needs its columns too."""
        super().check()
        for file in self.text_files():
            header = self._header(file)
            missing = [name for name in (CLIENT, PATH, SENTENCE) if name not in header]
            if missing:
                raise SourceError(f"source '{self.source.name}': {file} has no column {', '.join(missing)}: {header}")

    def text_files(self) -> list[Location]:
        """The lists."""
        if not self.source.path.is_dir():
            return [self.source.path]
        official = [file for file in (self.root / f"{name}.tsv" for name in OFFICIAL) if file.is_file()]
        return official or [file for file in [self.root / "validated.tsv"] if file.is_file()]

    def _header(self, file: Location) -> list[str]:
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            return str(lines.readline(MOST_LINE_CHARS)).rstrip("\r\n").split("\t")

    def _found(self) -> Iterator[Row]:
        for file in self.text_files():
            yield from self._rows_of(file)

    def _rows_of(self, file: Location) -> Iterator[Row]:
        names = self._header(file)
        split = {"split": file.stem} if file.stem in OFFICIAL else {}
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            for number, fields in enumerate(parse_delimited(lines, "\t", csv.QUOTE_NONE)):
                uri = f"{file.name}#{number}"
                if number == 0:
                    continue
                if isinstance(fields, Unreadable) or len(fields) != len(names):
                    found = (
                        fields.detail if isinstance(fields, Unreadable) else f"{len(fields)} fields: {fields!r:.120}"
                    )
                    yield Row(uri, {}, {}, Reason.INVALID_ROW, f"{found}; the header has {len(names)}")
                    continue
                record = dict(zip(names, fields, strict=True))
                speaker, clip = record.pop(CLIENT), record.pop(PATH)
                values = {"text": record.pop(SENTENCE), "speaker": speaker, "group": speaker, **split}
                attributes = {name: value for name, value in record.items() if value}
                yield Row(uri, {"path": _clip(clip), **values} if clip else values, attributes)


def _clip(name: str) -> str:
    """The clip's path; the first releases leave its suffix out."""
    return f"{CLIPS}/{name}" if PurePosixPath(name).suffix else f"{CLIPS}/{name}.mp3"
