"""What the sources hold before any of it is decoded: rows, and the digests of all files that they come from or name."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from multimodal.errors import DatasetError
from multimodal.ingest.digests import digests
from multimodal.ingest.locations import Location, relative_name
from multimodal.ingest.memory import IngestMemory
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.reader import Reader
from multimodal.ingest.refs import files_of

FILES_PER_TASK = 512
"""A thread hashes so many files at a time: one by one, handing them over would cost more than hashing them."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the sources hold.

    Args:
        rows: source -> rows that it has.
        digests: local file -> SHA-256, 64 hex digits, or what is the matter with it.
        named: of each source its name, and name and digest of every file: what a fingerprint is made of.
    """

    rows: dict[str, int] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)
    named: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)


def find_inputs(readers: Iterable[Reader], checks: CheckOptions, memory: IngestMemory | None) -> Inputs:
    """Count the rows of all sources, and hash all files that `memory` does not know."""
    found = Inputs()
    # Threads are enough: hashing lets go of the interpreter while it works.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="hash") as pool:
        for reader in readers:
            _add(reader, pool, checks, memory, found)
    return found


def refuse_changes(readers: Iterable[Reader], inputs: Inputs, memory: IngestMemory) -> None:
    """Refuse rows that were read from other files than those that the fingerprint stands for.

    Raises:
        DatasetError: a manifest, a list or an archive has changed since it was hashed.
    """
    files = dict.fromkeys(path for reader in readers for path in reader.text_files() if path in inputs.digests)
    for path, found in zip(files, digests([(path, math.inf) for path in files], memory), strict=True):
        if found != inputs.digests[path]:
            raise DatasetError(f"{path} changed while it was ingested; ingest again")


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of so many, the last one shorter."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def printable(text: str) -> str:
    """Text that can be stored as UTF-8, whatever bytes a file name was made of."""
    return text.encode("utf-8", "backslashreplace").decode()


def _add(reader: Reader, pool: Executor, checks: CheckOptions, memory: IngestMemory | None, inputs: Inputs) -> None:
    names: dict[Location, str] = {}
    rows = 0
    for row in reader.rows():
        rows += 1
        for ref, column in ((reader.media_path(row), "path"), (reader.picture_path(row), "picture")):
            for file in () if ref is None else files_of(ref):
                names.setdefault(file, row.values.get(column, "").strip())
    largest: dict[Location, float] = dict.fromkeys(names, checks.max_file_bytes)
    for path in (*reader.text_files(), *reader.source.split_files.values()):
        names[path], largest[path] = relative_name(path, reader.media_root), math.inf
    look = partial(digests, memory=memory)
    found = list(chain.from_iterable(pool.map(look, chunks(largest.items(), FILES_PER_TASK))))
    inputs.rows[reader.source.name] = rows
    inputs.digests.update((path, one) for path, one in zip(names, found, strict=True) if isinstance(path, Path))
    named = [(printable(name), one) for name, one in zip(names.values(), found, strict=True)]
    inputs.named.append((reader.source.name, named))
