"""Takes contents as ingest meets them, and finds the near duplicates among them when all are known.

Nothing is decoded here: fingerprints of pictures and sounds are made in the sandbox, in the decode that measures them,
of those contents that `lacking` names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from multimodal.ingest.drafts import Draft
from multimodal.ingest.duplicates.clusters import NearPair, Neighbours
from multimodal.ingest.duplicates.fingerprint import Fingerprint
from multimodal.ingest.duplicates.index import FingerprintIndex
from multimodal.ingest.duplicates.options import DecontaminationOptions
from multimodal.ingest.duplicates.search import candidate_pairs
from multimodal.ingest.options import IngestOptions
from multimodal.sample import Modality, content_digest

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

    def __init__(
        self, index: FingerprintIndex | None, kinds: dict[Modality, Kind], leaks: DecontaminationOptions
    ) -> None:
        self._index, self._kinds, self._leaks = index, kinds, leaks
        self._present: dict[Modality, set[str]] = {modality: set() for modality in kinds}

    @classmethod
    @contextmanager
    def open(cls, options: IngestOptions, workspace: Path) -> Iterator[Self]:
        """A finder of what the options ask for; of nothing, it opens no file and loads no library."""
        wanted = compared(options)
        if not wanted:
            yield cls(None, {}, options.decontamination)
            return
        from multimodal.ingest.duplicates.kinds import kind_of

        index = FingerprintIndex(workspace / INDEX)
        try:
            kinds = {modality: kind_of(modality, options.duplicates) for modality in sorted(wanted)}
            yield cls(index, kinds, options.decontamination)
        finally:
            index.close()

    @property
    def decoded(self) -> Collection[Modality]:
        """The modalities whose fingerprints are made while they are decoded."""
        return self._kinds.keys() - {Modality.TEXT}

    def lacking(self, contents: Sequence[tuple[str, Modality]]) -> set[tuple[str, Modality]]:
        """Those pictures and sounds (content id and modality) that are compared and have no fingerprint yet."""
        found: set[tuple[str, Modality]] = set()
        for modality in self.decoded if self._index is not None else ():
            ids = [content_id for content_id, one in contents if one is modality]
            held = self._index.held(modality, self._kinds[modality].version, ids) if self._index and ids else set()
            found.update((content_id, modality) for content_id in ids if content_id not in held)
        return found

    def keep(self, content_id: str, modality: Modality, fingerprint: str) -> None:
        """Keep the fingerprint (`Fingerprint.text`) that a picture or a sound came with; "" is none."""
        if fingerprint and modality in self._kinds:
            self._put(modality, content_id, Fingerprint.of_text(fingerprint))

    def add(self, content_id: str, modality: Modality) -> None:
        """Add a picture or a sound. One without a fingerprint (it did not fit into memory) is like no other."""
        if modality in self._kinds:
            self._present[modality].add(content_id)

    def add_texts(self, draft: Draft) -> None:
        """Add the input and the target of a row of text, and other targets that may leak."""
        if Modality.TEXT not in self._kinds:
            return
        is_text = draft.task.modality is Modality.TEXT
        if is_text or self._leaks.compares_target(draft.task.modality, draft.text):
            for text in {draft.input, draft.text} - {""}:
                self.add_text(text.encode())

    def add_text(self, data: bytes) -> None:
        """Add a text, as UTF-8."""
        from multimodal.ingest.duplicates.texts import fingerprint_text

        content_id, kind = content_digest(data), self._kinds[Modality.TEXT]
        if content_id in self._present[Modality.TEXT] or self._index is None:
            return
        self._present[Modality.TEXT].add(content_id)
        if not self._index.held(Modality.TEXT, kind.version, [content_id]):
            self._put(Modality.TEXT, content_id, fingerprint_text(data, kind.least))

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

    def _put(self, modality: Modality, content_id: str, fingerprint: Fingerprint) -> None:
        if self._index is not None:
            self._index.put(modality, content_id, self._kinds[modality].version, fingerprint)


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
