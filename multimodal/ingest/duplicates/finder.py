"""Takes contents as ingest meets them, and finds the near duplicates among them when all are known.

Contents are decoded here a second time, outside the sandbox: as the encoders do, of bytes that were decoded well in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from multimodal.ingest.drafts import Draft
from multimodal.ingest.duplicates.clusters import NearPair, Neighbours
from multimodal.ingest.duplicates.index import FingerprintIndex
from multimodal.ingest.duplicates.search import candidate_pairs
from multimodal.ingest.options import IngestOptions
from multimodal.sample import Content, Modality, UnreadContent, content_digest

if TYPE_CHECKING:
    from multimodal.ingest.duplicates.kinds import Kind

INDEX = "duplicates.db"
"""Its name in the workspace; all pipelines share it."""

PAIRS_PER_BATCH = 4096


def compared(options: IngestOptions) -> set[Modality]:
    """The modalities whose near duplicates the options ask for."""
    if options.splits.by_cluster or options.decontamination.max_share is not None:
        return set(Modality)
    return {modality for modality in Modality if options.duplicates.of(modality) != "off"}


class NearDuplicateFinder:
    """Fingerprints contents that the index does not know, and compares those that were added."""

    def __init__(self, index: FingerprintIndex | None, kinds: dict[Modality, Kind]) -> None:
        self._index, self._kinds = index, kinds
        self._present: dict[Modality, set[str]] = {modality: set() for modality in kinds}

    @classmethod
    @contextmanager
    def open(cls, options: IngestOptions, workspace: Path) -> Iterator[Self]:
        """A finder of what the options ask for; of nothing, it opens no file and loads no library."""
        wanted = compared(options)
        if not wanted:
            yield cls(None, {})
            return
        from multimodal.ingest.duplicates.kinds import kind_of

        index = FingerprintIndex(workspace / INDEX)
        try:
            yield cls(index, {modality: kind_of(modality, options.duplicates) for modality in sorted(wanted)})
        finally:
            index.close()

    def add(self, content: Content | UnreadContent) -> None:
        """Add a picture or a sound that was decoded well."""
        self._add(content.modality, content.content_id, lambda: content.data)

    def add_texts(self, draft: Draft) -> None:
        """Add the input and the target of a row of text."""
        if draft.task.modality is Modality.TEXT and Modality.TEXT in self._kinds:
            for text in {draft.input, draft.text} - {""}:
                data = text.encode()
                self._add(Modality.TEXT, content_digest(data), partial(bytes, data))

    @property
    def compared(self) -> dict[str, int]:
        """Modality -> contents that are compared."""
        return {modality.value: len(present) for modality, present in self._present.items()}

    def find(self) -> Neighbours:
        """The near duplicates among all that was added."""
        if self._index is None:
            return Neighbours()
        self._index.flush()
        return Neighbours(
            pair for kind in self._kinds.values() for pair in _pairs(kind, self._index, self._present[kind.modality])
        )

    def _add(self, modality: Modality, content_id: str, data: Callable[[], bytes]) -> None:
        kind = self._kinds.get(modality)
        if kind is None or self._index is None or content_id in self._present[modality]:
            return
        self._present[modality].add(content_id)
        if not self._index.holds(modality, content_id, kind.version):
            self._index.put(modality, content_id, kind.version, kind.fingerprint(data()))


def _pairs(kind: Kind, index: FingerprintIndex, present: set[str]) -> Iterator[NearPair]:
    """The verified pairs among those contents of one kind that are present."""
    ids, joined = [], bytearray()
    for content_id, key in index.keys(kind.modality, kind.version):
        if content_id in present:
            ids.append(content_id)
            joined += key
    if len(ids) < 2:
        return
    keys = np.frombuffer(joined, np.uint8).reshape(len(ids), -1)
    candidates = candidate_pairs(keys, kind.bands(keys), kind.max_bits)
    for start in range(0, len(candidates), PAIRS_PER_BATCH):
        batch = [(ids[one], ids[two]) for one, two in candidates[start : start + PAIRS_PER_BATCH].tolist()]
        proofs = index.proofs(kind.modality, kind.version, sorted({one for pair in batch for one in pair}))
        for one, two in batch:
            (proof, decoded), (other, as_well) = proofs[one], proofs[two]
            similarity = kind.similarity(proof, other)
            if similarity >= kind.least:
                yield NearPair(kind.modality, one, two, similarity, bool(decoded) and decoded == as_well)
