"""The LJSpeech layout (Ito and Johnson 2017): metadata.csv, without a header and with bars, beside a folder of WAV files."""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator, Sequence

from multimodal.ingest.layouts.layout import LayoutReader
from multimodal.ingest.locations import Location, bounded_lines
from multimodal.ingest.reader import Row
from multimodal.ingest.reasons import Reason
from multimodal.sample import Task

METADATA, WAVS = "metadata.csv", "wavs"


class LJSpeechReader(LayoutReader):
    """`LJ001-0002|as printed|as spoken`: the text is the last field that says anything; the chapter (LJ001) is the group."""  # noqa: E501

    task = Task.TRANSCRIBE
    looked_for = METADATA

    @classmethod
    def recognises(cls, path: Location, names: Sequence[str]) -> bool:
        """A folder with metadata.csv and wavs/."""
        return METADATA in names and any(name.startswith(f"{WAVS}/") for name in names)

    def text_files(self) -> list[Location]:
        """The metadata."""
        path = self.source.path / METADATA if self.source.path.is_dir() else self.source.path
        return [path] if path.is_file() else []

    def _found(self) -> Iterator[Row]:
        (metadata,) = self.text_files()
        with metadata.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(bounded_lines(lines), start=1):
                if line.strip():
                    yield _row(f"{metadata.name}#{number}", line.rstrip("\r\n").split("|"))


def _row(uri: str, fields: Sequence[str]) -> Row:
    if len(fields) not in (2, 3):
        return Row(
            uri, {}, {}, Reason.INVALID_ROW, f"{len(fields)} fields between bars, expected 2 or 3: {fields!r:.120}"
        )
    clip, *texts = fields
    spoken = next((text for text in reversed(texts) if text.strip()), "")
    chapter, dash, _ = clip.rpartition("-")
    values = {"path": f"{WAVS}/{clip}.wav", "text": spoken} | ({"group": chapter} if dash else {})
    return Row(uri, values, {"printed": texts[0]} if texts[0] != spoken else {})
