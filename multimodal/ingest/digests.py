"""What the files of a source hold, by their digests; a missing or unreadable file is a content like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from multimodal.errors import UnknownSystemError, UnreachableError
from multimodal.ingest.locations import Location, digest_of, size_of
from multimodal.ingest.memory import FileState, IngestMemory

MISSING = "missing"


def digests(files: Sequence[tuple[Location, float]], memory: IngestMemory | None = None) -> list[str]:
    """SHA-256 of each file, 64 hex digits, or what is the matter with it.

    Args:
        files: each with the bytes beyond which its size is all that counts.
        memory: local files that it knows are looked up and not read.

    Raises:
        UnreachableError: a remote file system does not answer.
    """
    states = [_state(path) for path, _ in files]
    stated = [state for state in states if isinstance(state, FileState)]
    known = memory.digests(stated) if memory is not None and stated else {}
    found: list[str] = []
    new: dict[FileState, str] = {}
    for (path, largest), state in zip(files, states, strict=True):
        if isinstance(state, str):
            found.append(state)
        elif isinstance(state, FileState) and state.path in known:
            found.append(known[state.path])
        else:
            found.append(_digest(path, largest, state))
            if isinstance(state, FileState) and state.size <= largest and len(found[-1]) == 64:
                new[state] = found[-1]
    if memory is not None:
        memory.keep_digests(new)
    return found


def _state(path: Location) -> FileState | str | None:
    """Of a local file; what is the matter with it; None for a remote one, whose state nothing tells."""
    if not isinstance(path, Path):
        return None
    try:
        return FileState.of(path) or MISSING
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return f"unreadable: {type(error).__name__}"


def _digest(path: Location, largest: float, state: FileState | None) -> str:
    try:
        if state is not None:  # a plain file was there a moment ago
            return digest_of(path) if state.size <= largest else f"{state.size} bytes"
        if not path.is_file():
            return MISSING
        size = size_of(path)
        return digest_of(path) if size <= largest else f"{size} bytes"
    except UnreachableError:
        raise
    except (OSError, ValueError, UnknownSystemError) as error:
        return f"unreadable: {type(error).__name__}"
