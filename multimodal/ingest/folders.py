"""A folder of media with sidecar texts as a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from multimodal.errors import ConfigError, MediaError, SourceError, UnreachableError
from multimodal.ingest.locations import Location, files_under, is_plain, relative_name
from multimodal.ingest.reader import Reader, Row
from multimodal.ingest.reasons import Reason
from multimodal.ingest.sidecars import JSON_SUFFIX, MOST_SIDECAR_BYTES, TEXT_SUFFIX, Sidecars
from multimodal.sample import Modality

SUFFIXES = (TEXT_SUFFIX, JSON_SUFFIX)


class FolderReader(Reader):
    """A folder of media, at any depth. The text of `a/b.jpg` is in `a/b.txt`, one caption per line, or in `a/b.json`.

    Cameras and Windows write suffixes in capitals: `a/b.TXT` is one too.

    The JSON object holds the row's columns: `text` (one, or a list), and any of style, group, split, speaker.
    """

    @classmethod
    def recognises(cls, path: Location, names: Sequence[str]) -> bool:
        """Any folder: this reader is asked last."""
        return path.is_dir()

    @property
    def media_root(self) -> Location:
        """The folder itself."""
        return self.source.path

    def check(self) -> None:
        """A folder holds media with sidecars: it cannot serve text tasks."""
        if self.source.task.modality is Modality.TEXT:
            needs = f"task {self.source.task} needs a manifest file; a folder serves caption and transcribe"
            raise ConfigError(f"source '{self.source.name}': {self.source.path} is a folder, {needs}")
        if not self._media():
            raise SourceError(f"source '{self.source.name}': no media in {self.source.path}")

    def text_files(self) -> list[Location]:
        """All sidecars."""
        return [path for path in self._files if _is_sidecar(path)]

    @cached_property
    def _files(self) -> list[Location]:
        return files_under(self.source.path)

    def _media(self) -> list[Location]:
        """Media files, and sidecars whose media is missing: those are rows too."""
        stems = {_stem(path) for path in self._files if not _is_sidecar(path)}
        lost: dict[str, Location] = {}
        for path in self.text_files():
            if _stem(path) not in stems:
                lost.setdefault(_stem(path), path)
        return [path for path in self._files if not _is_sidecar(path) or lost.get(_stem(path)) == path]

    def _all_rows(self) -> Iterator[Row]:
        # A pipe is never opened: it would be waited for.
        # Sorted, `a.txt` comes after `a.TXT`, and goes before it.
        there = {_stem(path) + path.suffix.lower(): path for path in self.text_files() if is_plain(path)}
        for path in self._media():
            yield from self._rows_of(path, there)

    def _rows_of(self, path: Location, there: dict[str, Location]) -> Iterator[Row]:
        name = relative_name(path, self.source.path)
        if _is_sidecar(path):
            yield Row(name, {}, {}, Reason.MISSING_FILE, "a sidecar without media")
            return
        text_file, json_file = (there.get(_stem(path) + suffix) for suffix in SUFFIXES)
        if text_file is None and json_file is None:
            yield Row(name, {"path": name}, {}, Reason.EMPTY_TEXT, f"no sidecar {path.with_suffix(TEXT_SUFFIX).name}")
            return
        try:
            text, json = (None if sidecar is None else _read(sidecar) for sidecar in (text_file, json_file))
        except MediaError as error:
            yield Row(name, {}, {}, Reason(error.reason), error.detail)
            return
        yield from Sidecars(text, json).rows(Row(name, {"path": name}), self.source.columns)


def _is_sidecar(path: Location) -> bool:
    return path.suffix.lower() in SUFFIXES


def _stem(path: Location) -> str:
    return str(path).removesuffix(path.suffix) if isinstance(path, Path) else str(path.with_suffix(""))


def _read(path: Location) -> bytes:
    try:
        with path.open("rb") as file:
            data = bytes(file.read(MOST_SIDECAR_BYTES + 1))
    except UnreachableError:
        raise
    except OSError as error:
        raise MediaError(Reason.MISSING_FILE, f"the sidecar {path.name} cannot be read: {error}") from error
    if len(data) > MOST_SIDECAR_BYTES:
        raise MediaError(Reason.TEXT_TOO_LONG, f"{path.name} has more than {MOST_SIDECAR_BYTES} bytes")
    return data
