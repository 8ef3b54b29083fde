"""Where the bytes of one picture or sound lie: in a file of their own, in an archive, or in a cell of a table.

A reference is small and hashable: rows carry it, and the bytes are read when the row is decoded. What is kept is
copied once into the dataset (`multimodal.dataset`), under its digest; no later stage opens a source again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PureWindowsPath

from multimodal.errors import MediaError, UnknownSystemError, UnreachableError
from multimodal.ingest.cells import ARROW_ERRORS, RowGroups
from multimodal.ingest.locations import URL_MARK, Location, RemotePath, read_range
from multimodal.ingest.media import read_file, too_many_bytes
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.reasons import Reason


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A member of an uncompressed tar file, as the span of its bytes.

    Args:
        file: the archive.
        offset, size: of the member's bytes in it.
        name: the member's name, for messages; it never becomes a path.
    """

    file: Location
    offset: int
    size: int
    name: str

    def read(self, checks: CheckOptions) -> bytes:
        """The member's bytes; see `read_ref`."""
        _check_size(self.size, checks.max_file_bytes)
        data = read_range(self.file, self.offset, self.size)
        if len(data) < self.size:
            detail = f"{self.name}: {self.size} bytes stated, the archive ends after {len(data)}"
            raise MediaError(Reason.INVALID_ARCHIVE, detail)
        return data


@dataclass(frozen=True, slots=True)
class ParquetCell:
    """Bytes in a Parquet file.

    Args:
        file: the Parquet file.
        row_group, row: number of the row group, and of the row in it.
        column: path of the column with the bytes, e.g. "image.bytes".
        beside: the file that holds the bytes where the cell is null, None where the row names none.
        row_groups: shared by the cells of one reader.
    """

    file: Location
    row_group: int
    row: int
    column: str
    beside: Location | None
    row_groups: RowGroups = field(compare=False, repr=False)

    def read(self, checks: CheckOptions) -> bytes:
        """The cell's bytes; see `read_ref`."""
        group = self.file, self.row_group, self.column
        try:
            value = self.row_groups.cell(group, self.row, checks.max_file_bytes)
        except UnreachableError:
            raise
        except ARROW_ERRORS as error:
            raise MediaError(Reason.INVALID_ARCHIVE, f"{self.file.name}, {self.column}: {error}") from error
        if isinstance(value, bytes):
            return value
        if value is not None:
            raise too_many_bytes(value, checks.max_file_bytes)
        if self.beside is None:
            raise MediaError(Reason.MISSING_FILE, f"{self.column} is null, and no path is beside it")
        return read_ref(self.beside, checks)


MediaRef = Location | ArchiveMember | ParquetCell
"""A file of its own, or a place in one."""


def read_ref(ref: MediaRef, checks: CheckOptions) -> bytes:
    """The bytes of one picture or sound.

    Raises:
        MediaError: they are not there, are more than `max_file_bytes`, or the file around them is damaged.
        UnreachableError: a remote file system does not answer, which says nothing about the row.
    """
    if isinstance(ref, ArchiveMember | ParquetCell):
        return ref.read(checks)
    return _read_remote(ref, checks.max_file_bytes) if isinstance(ref, RemotePath) else read_file(ref, checks)


def files_of(ref: MediaRef) -> list[Location]:
    """The files that the bytes depend on."""
    if isinstance(ref, ParquetCell):
        return [ref.file] if ref.beside is None else [ref.file, ref.beside]
    return [ref.file] if isinstance(ref, ArchiveMember) else [ref]


def name_of(ref: MediaRef) -> str:
    """What to call it in a message: the last part of its path, and the place in it."""
    if isinstance(ref, ArchiveMember):
        return f"{ref.file.name}:{ref.name}"
    return f"{ref.file.name}#{ref.row_group}.{ref.row}" if isinstance(ref, ParquetCell) else ref.name


def name_problem(name: str) -> str:
    """Why a name that an archive or a downloaded table gives must not be followed; "" where it may be."""
    if URL_MARK in name:
        return f"'{name}' is a URL"
    if name.startswith(("/", "\\")) or (":" in name and PureWindowsPath(name).drive):
        return f"'{name}' is absolute"
    return f"'{name}' leads out of its folder" if ".." in name.replace("\\", "/").split("/") else ""


def _read_remote(path: RemotePath, max_bytes: int) -> bytes:
    try:
        if not path.is_file():
            raise MediaError(Reason.MISSING_FILE, f"no file at {path}")
        size = path.size()
        _check_size(size, max_bytes)
        return path.read_range(0, size)
    except (FileNotFoundError, UnknownSystemError) as error:
        raise MediaError(Reason.MISSING_FILE, f"{path}: {error}") from error


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise too_many_bytes(size, max_bytes)
