"""The pictures and sounds of a dataset: Parquet parts cut by content, which datasets that hold the same ones share.

A part ends after a content whose id says so (content-defined chunking: Muthitacharoen, Chen and Mazieres 2001), so that
a new, changed or removed content changes the part that it lies in and no other. A part that an earlier dataset of the
workspace has is linked, not written: of its contents nothing is read. Which bytes a part has depends on the contents
alone, and so a dataset is the same whether parts of it were there before or not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path

import pyarrow as pa

from multimodal.fingerprint import INDEX, code_version, digest, file_digest, read_index
from multimodal.parts import PartWriter
from multimodal.sample import Content, UnreadContent

MEDIA = "media"
"""What the names of the parts begin with."""

MEDIA_SCHEMA = pa.schema([("content_id", pa.string()), ("modality", pa.string()), ("data", pa.large_binary())])
CONTENTS_PER_PART = 1024
"""On average."""

BYTES_PER_PART = 64 * 2**20
"""A part that has reached as many ends wherever it is; its contents wait in memory until then."""

CONTENTS_PER_GROUP = 128
BYTES_PER_GROUP = 16 * 2**20


class MediaWriter:
    """Writes the contents of one dataset, each of which is added once.

    Args:
        folder: of the dataset that is being written.
        datasets: folder of all datasets, whose parts may be shared.
        is_as_written: says of a finished part, by its stat, that it is as it was when it was written: it is shared
            without being read. None: each is hashed.
    """

    def __init__(self, folder: Path, datasets: Path, is_as_written: Callable[[Path], bool] | None = None) -> None:
        self._folder, self._datasets, self._is_as_written = folder, datasets, is_as_written
        self._waiting: list[Content | UnreadContent] = []
        self._waiting_bytes = 0
        self.count = 0
        self.keys: dict[str, str] = {}
        """Name of each part -> digest of what it holds, by which a later dataset finds it."""
        self.digests: dict[str, str] = {}
        """Name of each part that was linked -> SHA-256 of the file."""

    def add(self, content: Content | UnreadContent) -> None:
        """Add one picture or sound."""
        self._waiting.append(content)
        self._waiting_bytes += content.size
        self.count += 1
        if int(content.content_id[:8], 16) % CONTENTS_PER_PART == 0 or self._waiting_bytes >= BYTES_PER_PART:
            self.close()

    def close(self) -> None:
        """Finish the open part, on disk.

        Raises:
            DatasetError: a file that was left unread has changed since it was known.
        """
        if not self._waiting:
            return
        name = f"{MEDIA}-{len(self.keys):05d}.parquet"
        key = digest([_writer_version(), [(one.content_id, one.modality) for one in self._waiting]])
        if not self._link(name, key):
            self._write(len(self.keys))
        self.keys[name] = key
        self._waiting, self._waiting_bytes = [], 0

    def _link(self, name: str, key: str) -> bool:
        """Take the part from an earlier dataset, False where none has it."""
        if key not in self._earlier:
            return False
        path, written = self._earlier[key]
        own = self._folder / name
        try:
            try:
                os.link(path, own)
            except FileNotFoundError:
                raise
            except OSError:  # the file system has no links, or not so many
                shutil.copyfile(path, own)
        except FileNotFoundError:  # deleted meanwhile
            return False
        is_known = self._is_as_written is not None and self._is_as_written(path)
        if not is_known and file_digest(own) != written:  # damaged since: what this dataset holds shall be whole
            own.unlink()
            return False
        self.digests[name] = written
        return True

    def _write(self, number: int) -> None:
        writer = PartWriter(self._folder, MEDIA, MEDIA_SCHEMA, first=number)
        num_bytes = 0
        for content in self._waiting:
            writer.add((content.content_id, content.modality.value, content.data))
            num_bytes += content.size
            if writer.count % CONTENTS_PER_GROUP == 0 or num_bytes > BYTES_PER_GROUP:
                writer.flush()
                num_bytes = 0
        writer.close()

    @cached_property
    def _earlier(self) -> dict[str, tuple[Path, str]]:
        """Key of every part of every finished dataset -> where it is, and its SHA-256."""
        found: dict[str, tuple[Path, str]] = {}
        for path in sorted(self._datasets.glob(f"*/{INDEX}")):
            try:
                index = read_index(path.parent) or {}
            except (OSError, ValueError):  # deleted meanwhile, or damaged: nothing to share
                continue
            files, parts = (index.get(name) if isinstance(index, dict) else None for name in ("files", "media_parts"))
            if isinstance(files, dict) and isinstance(parts, dict):
                found |= {key: (path.parent / name, files[name]) for name, key in parts.items() if name in files}
        return found


@cache
def _writer_version() -> str:
    """What else the bytes of a part depend on: how, and by what, it is written."""
    return f"{pa.__version__} {code_version('media_parts.py', 'parts.py')}"
