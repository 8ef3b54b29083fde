"""Verified pairs of near duplicates, and the clusters that they join."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from multimodal.sample import Modality

_NONE: Mapping[str, float] = MappingProxyType({})


class DisjointSets:
    """Names joined into sets (union-find); the representative of a set is its smallest name, whatever the order."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        """The smallest name of the set that a name is in; itself where it was never joined."""
        root = name
        while (parent := self._parent.get(root, root)) != root:
            root = parent
        while name != root:
            self._parent[name], name = root, self._parent[name]
        return root

    def join(self, first: str, second: str) -> None:
        """Make one set of two."""
        smaller, larger = sorted((self.find(first), self.find(second)))
        self._parent[smaller] = self._parent[larger] = smaller


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two contents that are near duplicates.

    Args:
        modality: of both.
        first, second: content ids, the smaller one first.
        similarity: from 0 to 1, as the modality defines it.
        same_decoded: they decode to the same pixels or samples.
    """

    modality: Modality
    first: str
    second: str
    similarity: float
    same_decoded: bool = False


class Neighbours:
    """All near duplicates of a dataset, by content id (texts by the digest of the text)."""

    def __init__(self, pairs: Iterable[NearPair] = ()) -> None:
        self._near: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._same: set[tuple[str, str]] = set()
        self._sets = DisjointSets()
        self._modality: dict[str, Modality] = {}
        for pair in pairs:
            self._modality[pair.first] = self._modality[pair.second] = pair.modality
            self._near[pair.first][pair.second] = self._near[pair.second][pair.first] = pair.similarity
            self._sets.join(pair.first, pair.second)
            if pair.same_decoded:
                self._same.add((pair.first, pair.second))

    def of(self, content_id: str) -> Mapping[str, float]:
        """The near duplicates of a content, and how similar they are."""
        return self._near.get(content_id, _NONE)

    def similarity(self, first: str, second: str) -> float | None:
        """Of two contents; 1 for one and the same, None where they are no near duplicates."""
        return 1.0 if first == second else self.of(first).get(second)

    def is_same(self, first: str, second: str) -> bool:
        """Whether two contents are one once they are decoded."""
        return first == second or (min(first, second), max(first, second)) in self._same

    def cluster(self, content_id: str) -> str:
        """The smallest content id that chains of near duplicates lead to; its own where there are none."""
        return self._sets.find(content_id)

    def modality(self, content_id: str) -> Modality:
        """Of a content that has near duplicates."""
        return self._modality[content_id]

    def clusters(self) -> dict[str, list[str]]:
        """Cluster -> its content ids, both sorted."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for content_id in sorted(self._near):
            found[self.cluster(content_id)].append(content_id)
        return dict(sorted(found.items()))
