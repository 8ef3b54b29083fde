"""Where files lie: at a local path, or at a URL of any file system that fsspec knows (s3://, gs://, https://, memory://).

`RemotePath` has the part of `pathlib.Path` that readers use, so that a reader need not know which of the two it has.
Local paths stay `pathlib` paths: they keep names that are no UTF-8, pipes and broken links apart.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, TextIO

from pydantic import PlainSerializer, PlainValidator

from multimodal.errors import SourceError, UnknownSystemError, UnreachableError

URL_MARK = "://"
REMOTE_CURE = "pip install 'multimodal[remote]' adds s3, gs and abfs"
ASK_AGAIN = (401, 407, 408, 425, 429)
"""Status of HTTP below 500 that says nothing about the file: who asks is unknown, came too early or too often."""
MOST_LINE_CHARS = 8 << 20
MOST_SKIPPED_CHARS = 1 << 16
TOO_LONG = "x" * (csv.field_size_limit() + 1)
"""What stands for a line that is too long; a parser of delimited fields refuses it as it is."""


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A file or folder of an fsspec file system; chained URLs (`zip://a/b.csv::s3://bucket/x.zip`) are meant too."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str | PurePosixPath) -> RemotePath:
        head, *chain = self.url.split("::")
        joined = head + str(name) if head.endswith("/") else f"{head}/{name}"
        return RemotePath("::".join([joined, *chain]))

    @property
    def _within(self) -> PurePosixPath:
        """The path behind `protocol://`."""
        return PurePosixPath(self.url.split("::")[0].partition(URL_MARK)[2])

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self._within.name

    @property
    def stem(self) -> str:
        """`name` without its suffix."""
        return self._within.stem

    @property
    def suffix(self) -> str:
        """Last `.suffix` of the name, "" where it has none."""
        return self._within.suffix

    @property
    def parent(self) -> RemotePath:
        """The folder that it lies in."""
        return self._beside(self._within.parent)

    def with_suffix(self, suffix: str) -> RemotePath:
        """The same with another suffix."""
        return self._beside(self._within.with_suffix(suffix))

    def _beside(self, within: PurePosixPath) -> RemotePath:
        head, *chain = self.url.split("::")
        shown = "" if str(within) == "." else str(within)
        return RemotePath("::".join([head.partition(URL_MARK)[0] + URL_MARK + shown, *chain]))

    def exists(self) -> bool:
        """Whether anything is there.

        Raises, as all that follows:
            SourceError: the file system is not installed.
            UnknownSystemError: nobody knows it.
            UnreachableError: it does not answer.
        """
        return self._type() is not None

    def is_dir(self) -> bool:
        """Whether a folder is there."""
        return bool(self._ask("isdir"))

    def is_file(self) -> bool:
        """Whether a file is there."""
        return self._type() == "file"

    def _type(self) -> str | None:
        """ "file" or "directory", None where nothing is; fsspec's own `isfile` and `exists` take any error for that."""
        try:
            return str(self._ask("info")["type"])
        except FileNotFoundError:
            return None

    def open(self, mode: str = "r", encoding: str = "utf-8", errors: str = "strict", newline: str | None = None) -> Any:
        """As `pathlib.Path.open`, for reading."""
        file = io.BufferedReader(_Stream(self._ask("open", "rb"), self.url))
        return file if "b" in mode else io.TextIOWrapper(file, encoding, errors, newline)

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The whole file as text."""
        with self.open("r", encoding, errors) as file:
            return str(file.read())

    def files(self) -> list[RemotePath]:
        """All files under this folder, at any depth."""
        root = PurePosixPath(self._system()[1])
        return [self / PurePosixPath(found).relative_to(root) for found in self._ask("find")]

    def iterdir(self) -> list[RemotePath]:
        """What lies directly in this folder."""
        return [self / PurePosixPath(found).name for found in self._ask("ls", detail=False)]

    def size(self) -> int:
        """Bytes of the file."""
        return int(self._ask("size") or 0)

    def read_range(self, start: int, size: int) -> bytes:
        """Some bytes of the file, in one request."""
        return bytes(self._ask("cat_file", start=start, end=start + size))

    def _system(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            system, path = url_to_fs(self.url)
        except ImportError as error:
            raise SourceError(f"no file system for {self.url}: {error}; {REMOTE_CURE}") from error
        except (ValueError, TypeError) as error:
            raise UnknownSystemError(f"no file system for {self.url}: {error}; {REMOTE_CURE}") from error
        except OSError as error:  # some connect at once
            raise _unreachable(self.url, error) from error
        return system, path

    def _ask(self, method: str, *args: Any, **options: Any) -> Any:
        system, path = self._system()
        with _answered(self.url):
            return getattr(system, method)(path, *args, **options)


class _Stream(io.RawIOBase):
    """An open remote file whose every failure says that the file system does not answer, not that the file is bad."""

    def __init__(self, file: Any, url: str) -> None:
        self._file, self._url = file, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _answered(self._url):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _answered(self._url):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def _answered(url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if _is_no_answer(error.__cause__):
            raise _unreachable(url, error.__cause__) from error
        raise
    except Exception as error:  # every file system has errors of its own
        raise _unreachable(url, error) from error


def _is_no_answer(cause: BaseException | None) -> bool:
    """Whether what fsspec calls a missing file is a server that did not say so: its HTTP takes any error for that."""
    if cause is None or isinstance(cause, FileNotFoundError):
        return False
    status = getattr(cause, "status", None)
    return status is None or status >= 500 or status in ASK_AGAIN


def _unreachable(url: str, error: BaseException | None) -> UnreachableError:
    cure = "check the address, the credentials and the network"
    return UnreachableError(f"{url} cannot be reached: {type(error).__name__}: {error}; {cure}")


Location = Path | RemotePath
"""A local path, or a URL."""


def location(named: Any) -> Location:
    """The location that a text names; one that is a location already stays.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(named, Location):
        return named
    if not isinstance(named, str):
        raise ValueError(f"a path or a URL, got {named!r}")
    if named.startswith("file" + URL_MARK):
        return Path(named.removeprefix("file" + URL_MARK))
    return RemotePath(named) if URL_MARK in named else Path(named)


LocationField = Annotated[Location, PlainValidator(location), PlainSerializer(str)]
"""`Location` as an option's type: given and stored as text."""


def join(root: Location, name: str) -> Location:
    """What a manifest in `root` means by a name: a URL as it is, else a path relative to the root."""
    return RemotePath(name) if URL_MARK in name else root / name


def names_under(folder: Location) -> list[str]:
    """Relative names of all files under a folder, at any depth, without hidden ones, sorted."""
    if isinstance(folder, RemotePath):
        found = [relative_name(file, folder) for file in folder.files()]
    else:
        walked = ((relative_name(Path(at), folder), files) for at, _, files in os.walk(folder))
        found = [name if at == "." else f"{at}/{name}" for at, files in walked for name in files]
    return sorted(name for name in found if not name.rpartition("/")[2].startswith("."))


def files_under(folder: Location, suffix: str = "") -> list[Location]:
    """The files of `names_under`, those whose names end so."""
    return [folder / name for name in names_under(folder) if name.endswith(suffix)]


def relative_name(file: Location, root: Location) -> str:
    """The name of a file within a root, with `/`; its full name where it lies elsewhere."""
    if isinstance(file, Path) and isinstance(root, Path):
        return Path(os.path.relpath(file, root)).as_posix()
    return str(file).split("::")[0].removeprefix(str(root).split("::")[0].rstrip("/") + "/")


def is_plain(file: Location) -> bool:
    """Whether a plain file is there, or a remote one, which can be nothing else; never raises for a local name."""
    return isinstance(file, RemotePath) or os.path.isfile(file)  # noqa: PTH113 (Path.is_file raises on EACCES)


def open_plain(file: Location) -> Any:
    """A plain file, open for reading its bytes; to open anything else may wait for ever, or do something.

    Raises:
        FileNotFoundError: no plain file is there.
        OSError: it cannot be opened.
        UnreachableError: a remote file system does not answer.
    """
    if not is_plain(file):
        raise FileNotFoundError(f"no plain file at {file}")
    return file.open("rb")


def size_of(file: Location) -> int:
    """Bytes of a file."""
    return file.size() if isinstance(file, RemotePath) else file.stat().st_size


def read_range(file: Location, start: int, size: int) -> bytes:
    """Bytes `start` to `start + size` of a file, fewer where it ends before."""
    if isinstance(file, RemotePath):
        return file.read_range(start, size)
    with file.open("rb") as opened:
        opened.seek(start)
        return opened.read(size)


def digest_of(file: Location) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def bounded_lines(lines: TextIO) -> Iterator[str]:
    """The lines of an open text; `TOO_LONG` stands for one of more than `MOST_LINE_CHARS`, of which no more is held."""
    for line in iter(partial(lines.readline, MOST_LINE_CHARS), ""):
        if len(line) < MOST_LINE_CHARS or line.endswith(("\n", "\r")):
            yield line
        else:
            while line and not line.endswith(("\n", "\r")):
                line = lines.readline(MOST_SKIPPED_CHARS)
            yield TOO_LONG


def first_line(file: Location) -> bytes:
    """The first line of a file, at most 64 KiB of it."""
    opened: IO[bytes]
    with open_plain(file) as opened:
        return opened.readline(1 << 16)
