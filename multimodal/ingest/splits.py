"""Which split a sample is in: as the source says, else by a hash of its group: it never moves when data grows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum

from multimodal.ingest.drafts import Draft
from multimodal.ingest.options import SplitOptions
from multimodal.sample import Split

PRECEDENCE = (Split.TEST, Split.VAL, Split.TRAIN)
"""Whose claim on a shared content wins among official splits: what is tested is never trained on."""


def hash_split(group: str, options: SplitOptions) -> Split:
    """The split of a group, from nothing but its name and the shares; a changed share of val moves nothing in test."""
    share = _unit("split", group)
    if share < options.test:
        return Split.TEST
    return Split.VAL if share < options.test + options.val else Split.TRAIN


def is_carved(group: str, options: SplitOptions) -> bool:
    """Whether an officially train group serves as val."""
    return _unit("carve", group) < options.carve_val


def _unit(purpose: str, group: str) -> float:
    """A uniform number in [0, 1) that depends on the group alone."""
    head = hashlib.sha256(f"{purpose}\x1f{group}".encode()).digest()[:8]
    return int.from_bytes(head) / 2**64


class SplitOrigin(StrEnum):
    """What decided the split of a content."""

    SOURCE = "source"
    CARVED = "carved"
    HASH = "hash"


class SplitAssigner:
    """Gives all samples of one content the same split, however many sources and groups share it.

    An official claim wins over a hash (test over val over train); without one, the content's first row decides.
    All drafts are added before the first is asked for: a later source may claim an earlier content for its test split.
    """

    def __init__(self, options: SplitOptions) -> None:
        self._options = options
        self._first: dict[str, tuple[str, str]] = {}
        self._official: dict[str, Split] = {}
        self._has_val: set[str] = set()

    def add(self, draft: Draft) -> None:
        """Note what a row, kept or duplicate, claims for its content."""
        self._first.setdefault(draft.content_id, (draft.group, draft.source))
        if draft.official is None:
            return
        known = self._official.get(draft.content_id, draft.official)
        self._official[draft.content_id] = min(known, draft.official, key=PRECEDENCE.index)
        if draft.official is Split.VAL:
            self._has_val.add(draft.source)

    def official(self, content_id: str) -> Split | None:
        """The split that sources claim for a content, None where none does."""
        return self._official.get(content_id)

    def split(self, content_id: str) -> Split:
        """The split of all samples of a content."""
        origin = self.origin(content_id)
        if origin is SplitOrigin.HASH:
            return hash_split(self._first[content_id][0], self._options)
        return Split.VAL if origin is SplitOrigin.CARVED else self._official[content_id]

    def origin(self, content_id: str) -> SplitOrigin:
        """What decides the split of a content."""
        group, source = self._first[content_id]
        official = self.official(content_id)
        if official is None:
            return SplitOrigin.HASH
        needs_val = official is Split.TRAIN and source not in self._has_val
        return SplitOrigin.CARVED if needs_val and is_carved(group, self._options) else SplitOrigin.SOURCE

    def all(self) -> Mapping[str, Split]:
        """content_id -> split of every content added."""
        return {content_id: self.split(content_id) for content_id in self._first}
