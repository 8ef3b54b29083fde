"""The LibriSpeech tree (Panayotov et al. 2015): <split>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt beside FLAC files."""  # noqa: E501

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property

from multimodal.ingest.layouts.layout import LayoutReader
from multimodal.ingest.locations import TOO_LONG, Location, bounded_lines, files_under, is_plain, relative_name
from multimodal.ingest.manifests import LONG_LINE
from multimodal.ingest.reader import Row
from multimodal.ingest.reasons import Reason
from multimodal.ingest.split_names import split_word
from multimodal.sample import Task

TRANSCRIPT = ".trans.txt"
CLIP = ".flac"


class LibriSpeechReader(LayoutReader):
    """`train-clean-100/19/198/19-198.trans.txt`: a line is an utterance and its text; the speaker is the group.

    The split is in the folder's name (train-*, dev-*, test-*). A clip without a line is a row without text.
    """

    task = Task.TRANSCRIBE
    looked_for = "*.trans.txt"

    @classmethod
    def recognises(cls, path: Location, names: Sequence[str]) -> bool:
        """A folder that holds transcripts."""
        return any(name.endswith(TRANSCRIPT) for name in names)

    def text_files(self) -> list[Location]:
        """The transcripts."""
        return [file for file in self._files if file.name.endswith(TRANSCRIPT)]

    @cached_property
    def _files(self) -> list[Location]:
        return files_under(self.root)

    def _found(self) -> Iterator[Row]:
        clips: dict[str, list[str]] = defaultdict(list)
        for file in self._files:
            if file.suffix == CLIP:
                clips[str(file.parent)].append(file.stem)
        for transcript in self.text_files():
            if not is_plain(transcript):
                name = relative_name(transcript, self.root)
                yield Row(name, {}, {}, Reason.MISSING_FILE, f"no plain file at {transcript}")
                continue
            yield from self._rows_of(transcript, clips[str(transcript.parent)])

    def _rows_of(self, transcript: Location, clips: list[str]) -> Iterator[Row]:
        name = relative_name(transcript, self.root)
        folder = name.rpartition("/")[0]
        split = split_word(folder) or split_word(self.root.name)
        seen = set()
        with transcript.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(bounded_lines(lines), start=1):
                if line is TOO_LONG:
                    yield Row(f"{name}#{number}", {}, {}, Reason.TEXT_TOO_LONG, LONG_LINE)
                    continue
                clip, _, text = line.strip().partition(" ")
                if clip:
                    seen.add(clip)
                    speaker = clip.partition("-")[0]
                    values = {"text": text, "speaker": speaker, "group": speaker, "split": split}
                    yield Row(f"{name}#{number}", {"path": _clip_path(folder, clip), **values})
        for clip in sorted(set(clips) - seen):
            path = _clip_path(folder, clip)
            yield Row(path, {"path": path}, {}, Reason.EMPTY_TEXT, f"no line in {transcript.name}")


def _clip_path(folder: str, clip: str) -> str:
    return f"{folder}/{clip}{CLIP}" if folder else f"{clip}{CLIP}"
