"""Splits by cluster: what is nearly the same, or shares a group, is never in two splits unless a source says so."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from multimodal.ingest.drafts import Draft
from multimodal.ingest.duplicates.clusters import DisjointSets, Neighbours
from multimodal.ingest.duplicates.options import DecontaminationOptions
from multimodal.ingest.options import SplitOptions
from multimodal.ingest.splits import PRECEDENCE, SplitAssigner, SplitOrigin, hash_split, is_carved
from multimodal.sample import Modality, Split, content_digest


@dataclass(frozen=True, slots=True)
class _Decision:
    """Where the contents of one cluster go.

    Args:
        split: of those whose split no source gives.
        serves_as_val: officially train, it serves as val.
    """

    split: Split
    serves_as_val: bool


class ClusterSplitAssigner(SplitAssigner):
    """Joins contents that share a group, a picture, a target text or a cluster of near duplicates, and splits those.

    - The group of a cluster's first row decides by its hash, for all contents whose split no source gives. Rows that
      are appended never move it: a cluster that grows stays where it is, and where growth joins two clusters of
      different splits, the later one moves to the split of the earlier. `join` tells what lies elsewhere than its own
      group would have put it.
    - Official splits stay. Contents without one follow those of their cluster, test before val before train.
    - Clusters of officially train contents serve as val (`carve_val`) as a whole, if none of their sources has a val.

    Target texts join rows of text of whatever tasks; where `leaks` counts captions and transcripts, those too.
    All drafts are added, and all near duplicates joined, before the first split is asked for.
    """

    def __init__(self, options: SplitOptions, leaks: DecontaminationOptions | None = None) -> None:
        super().__init__(options)
        self._leaks = leaks or DecontaminationOptions()
        self._sets = DisjointSets()

    def add(self, draft: Draft) -> None:
        """Note what a row, kept or duplicate, claims for its content, and what it shares with others."""
        super().add(draft)
        self._sets.join(draft.content_id, f"group {draft.group}")
        if draft.picture_id:
            self._sets.join(draft.content_id, draft.picture_id)
        modality = draft.task.modality
        if modality is Modality.TEXT or self._leaks.compares_target(modality, draft.text):
            self._sets.join(draft.content_id, content_digest(draft.text.encode()))

    def join(self, near: Neighbours) -> list[str]:
        """Join all near duplicates.

        Returns:
            Contents whose cluster puts them into another split than their own group would, in the order of rows.
        """
        for cluster, content_ids in near.clusters().items():
            for content_id in content_ids:
                self._sets.join(cluster, content_id)
        alone = super().split
        return [content_id for content_id in self._first if self.split(content_id) is not alone(content_id)]

    def split(self, content_id: str) -> Split:
        """The split of all samples of a content."""
        decision = self._decisions[self._sets.find(content_id)]
        if decision.serves_as_val:
            return Split.VAL
        return self.official(content_id) or decision.split

    def origin(self, content_id: str) -> SplitOrigin:
        """What decides the split of a content, for all of its cluster that no source speaks for."""
        if self._decisions[self._sets.find(content_id)].serves_as_val:
            return SplitOrigin.CARVED
        return SplitOrigin.HASH if self.official(content_id) is None else SplitOrigin.SOURCE

    @cached_property
    def _decisions(self) -> dict[str, _Decision]:
        """Cluster -> where its contents go."""
        members: defaultdict[str, list[str]] = defaultdict(list)
        for content_id in self._first:
            members[self._sets.find(content_id)].append(content_id)
        return {cluster: self._decide(content_ids) for cluster, content_ids in members.items()}

    def _decide(self, content_ids: list[str]) -> _Decision:
        """Of one cluster, its contents in the order of their first rows."""
        group, _ = self._first[content_ids[0]]
        claims = {content_id: claim for content_id in content_ids if (claim := self.official(content_id)) is not None}
        if not claims:
            return _Decision(hash_split(group, self._options), False)
        has_val = any(self._first[content_id][1] in self._has_val for content_id in claims)
        is_train = set(claims.values()) == {Split.TRAIN}
        is_val = is_train and not has_val and is_carved(group, self._options)
        return _Decision(min(claims.values(), key=PRECEDENCE.index), is_val)
