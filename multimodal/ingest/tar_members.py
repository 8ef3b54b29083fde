"""The members of an uncompressed tar file, one after the other: headers are read, bytes stay where they are."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from multimodal.errors import UnreachableError
from multimodal.ingest.locations import Location, open_plain
from multimodal.ingest.refs import ArchiveMember, name_problem

BLOCK = tarfile.BLOCKSIZE
MOST_HEADER_BYTES = 1 << 20


class _Headers:
    """An archive of which nothing but headers is read: one that states a name of 2 GB is refused, not read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        """So many bytes, fewer where the archive ends before."""
        if size > MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _opened(file: IO[bytes]) -> tarfile.TarFile:
    headers: Any = _Headers(file)
    return tarfile.open(fileobj=headers, mode="r:", errorlevel=2)


@dataclass(frozen=True, slots=True)
class Damage:
    """Where an archive cannot be read further.

    Args:
        offset: in bytes.
        detail: what was found.
    """

    offset: int
    detail: str


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive that is no folder.

    Args:
        ref: where its bytes lie; the offset is that of the header where it has none.
        problem: why it must not be read (a link, a device, a name that leads elsewhere), "" where it may be.
    """

    ref: ArchiveMember
    problem: str


def tar_members(archive: Location) -> Iterator[Member | Damage]:
    """All members in their order, at most one `Damage`, the last. Nothing is extracted, no name becomes a path."""
    before = -1
    try:
        with open_plain(archive) as file, _opened(file) as tar:
            while (found := tar.next()) is not None:
                # tarfile keeps all headers otherwise; a header of negative size would lead back to itself.
                vars(tar)["members"] = []
                if found.size < 0 or tar.offset <= before:
                    yield Damage(found.offset, f"a header of size {found.size}")
                    return
                before = tar.offset
                if not found.isdir():
                    ref = ArchiveMember(archive, found.offset_data, found.size, found.name)
                    yield Member(ref, _problem(found))
            yield from _end(file, tar.offset)
    except UnreachableError:
        raise
    except (tarfile.TarError, OSError, ValueError, ArithmeticError, EOFError, RecursionError) as error:
        yield Damage(max(before, 0), str(error) or type(error).__name__)


def _problem(found: tarfile.TarInfo) -> str:
    if found.issym() or found.islnk():
        return f"'{found.name}' is a link to '{found.linkname}'"
    if not found.isreg():
        return f"'{found.name}' is a device, a pipe or of an unknown type"
    return f"'{found.name}' is a sparse file" if found.issparse() else name_problem(found.name)


def _end(file: IO[bytes], offset: int) -> Iterator[Damage]:
    """Damage where the headers end without the two blocks of zeros that close an archive: tarfile passes over it."""
    file.seek(offset)
    block = file.read(BLOCK)
    if block != bytes(BLOCK):
        found = "ends without its end mark" if not block else "holds no header"
        yield Damage(offset, f"the archive {found} at byte {offset}: members may be lost")
