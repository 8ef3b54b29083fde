"""What all folders have in common: an index with a checksum, a name that is a fingerprint, and files with digests."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from multimodal.fingerprint import INDEX, file_digests, fingerprint, is_intact, read_index
from multimodal.verification.finding import Check

FINGERPRINT = re.compile(r"[0-9a-f]{16}")


def checked_index(check: Check) -> dict[str, Any] | None:
    """The index of the folder, held against its checksum and the folder's name; None where it cannot be trusted."""
    try:
        index = read_index(check.path)
    except ValueError as error:  # no JSON, or no UTF-8
        check.differs(INDEX, f"cannot be read: {error}")
        return None
    check.checked += 1
    if not isinstance(index, dict):
        check.differs(INDEX, "is missing" if index is None else "holds no keys and values")
        return None
    intact = is_intact(index)
    if intact is False:
        check.differs(INDEX, "its values do not give its checksum; the rest was not compared with it")
        return None
    if intact is None:
        check.notes.append("written before indexes had checksums: its index is compared with the folder's name only")
    named, parts = check.path.name, index.get("parts")
    if parts is not None and FINGERPRINT.fullmatch(named) and fingerprint(parts) != named:
        check.differs(INDEX, f"its parts give the fingerprint {fingerprint(parts)}, the folder is named {named}")
    return index


def check_files(check: Check, index: dict[str, Any], within: str = "", apart: Collection[str] = ()) -> bool:
    """Hash all files again; False where the index knows no digests.

    Args:
        within: only files whose names start so.
        apart: files that the index does not know, on purpose.
    """
    known: dict[str, str] | None = index.get("files")
    if known is None:
        check.notes.append("written before its index knew the digests of its files")
        return False
    found = file_digests(check.path)
    for name in sorted(name for name in {*known, *found} if name.startswith(within) and name not in apart):
        check.checked += 1
        if name not in found:
            check.differs(name, "is missing")
        elif name not in known:
            check.differs(name, "was not there when the folder was finished")
        elif known[name] != found[name]:
            check.differs(name, f"SHA-256 {known[name][:16]}... written, {found[name][:16]}... found")
    return True
