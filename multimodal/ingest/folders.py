"""A folder of media with sidecar texts as a source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from multimodal.errors import ConfigError, SourceError
from multimodal.ingest.reader import Reader, Row, checked
from multimodal.ingest.reasons import Reason
from multimodal.sample import Modality

SIDECAR = ".txt"


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
            yield checked(Row(uri, {"path": name, "text": line}))
