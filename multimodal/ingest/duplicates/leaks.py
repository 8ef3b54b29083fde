"""Decontamination after ingest: test samples that train holds too, exactly or nearly, and the gate on their share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from multimodal.errors import ContaminationError
from multimodal.ingest.drafts import Draft
from multimodal.ingest.duplicates.clusters import Neighbours
from multimodal.ingest.duplicates.plain import text_key
from multimodal.sample import Modality, Split, content_digest

PAIRS_NAMED = 20

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leak:
    """A test sample, and the first train sample that repeats it.

    Args:
        test, train: source and URI of both.
        how: "the same content", "similarity 0.981", ...
        is_official: a source gives both their splits, so that nothing but leaving one out can part them.
    """

    test: str
    train: str
    modality: str
    how: str
    is_official: bool


@dataclass(frozen=True, slots=True)
class Contamination:
    """How much of test is in train.

    Args:
        test: test samples.
        leaked: those of them that train holds too.
        by_modality: leaked ones of each modality.
        pairs: the first of them by sample id, at most `PAIRS_NAMED`.
    """

    test: int
    leaked: int
    by_modality: Mapping[str, int]
    pairs: tuple[Leak, ...]

    @property
    def share(self) -> float:
        """Of the test samples."""
        return self.leaked / self.test if self.test else 0.0


class LeakFinder:
    """Compares test with train.

    Pictures and sounds leak if train holds, for whatever task, one of the same cluster of near duplicates, or the
    same picture beside its content. Texts leak by input and target together: that two clips say the same sentence, or
    two pictures have one caption, is no leak.

    Args:
        split: content id -> split.
        near: near duplicates; of modalities that were not compared nearly, only exact repetitions are found.
        pictures: content ids of all pictures that lie beside another content.
    """

    def __init__(self, split: Callable[[str], Split], near: Neighbours, pictures: Collection[str]) -> None:
        self._split, self._near, self._pictures = split, near, pictures
        self._wanted: set[Key] = set()
        self._tests = 0

    def add(self, draft: Draft, split: Split) -> None:
        """Note a kept row; all are noted before `find` goes over them again."""
        if split is Split.TEST:
            self._tests += 1
            self._wanted.update(self._keys(draft))

    def find(self, rows: Callable[[], Iterable[tuple[str, Draft]]]) -> Contamination:
        """What leaked, of the rows that were added.

        Args:
            rows: gives their sample ids and drafts, each time from the beginning.
        """
        held: dict[Key, Draft] = {}
        leaked: list[tuple[str, Draft, Draft]] = []
        if self._wanted:
            for _, draft in rows():
                if self._split(draft.content_id) is Split.TRAIN:
                    for key in self._keys(draft):
                        if key in self._wanted:
                            held.setdefault(key, draft)
        if held:
            for sample_id, draft in rows():
                if self._split(draft.content_id) is Split.TEST:
                    twin = next((held[key] for key in self._keys(draft) if key in held), None)
                    if twin is not None:
                        leaked.append((sample_id, draft, twin))
        by_modality = Counter(draft.task.modality.value for _, draft, _ in leaked)
        first = sorted(leaked, key=lambda one: one[0])[:PAIRS_NAMED]
        pairs = tuple(_leak(draft, twin, self._near) for _, draft, twin in first)
        return Contamination(self._tests, len(leaked), dict(sorted(by_modality.items())), pairs)

    def _keys(self, draft: Draft) -> list[Key]:
        """What a row shares with another that repeats it, exact repetitions first; nothing where no row could: all
        rows of one content are in one split."""
        near = self._near
        if draft.task.modality is Modality.TEXT:
            clusters = (near.cluster(draft.content_id), draft.style, near.cluster(_target(draft)))
            exact = text_key(draft.task, draft.input, draft.style, draft.text)
            keys: list[Key] = [("text", draft.task, *exact), ("near text", draft.task, *clusters)]
        else:
            keys = self._media_keys(draft.content_id)
        return keys + self._media_keys(draft.picture_id) if draft.picture_id else keys

    def _media_keys(self, content_id: str) -> list[Key]:
        keys: list[Key] = [("content", content_id)] if content_id in self._pictures else []
        return [*keys, ("near content", self._near.cluster(content_id))] if self._near.of(content_id) else keys


def refuse_leaks(found: Contamination, max_share: float | None) -> None:
    """The gate.

    Raises:
        ContaminationError: more of test is in train than is allowed; names the pairs.
    """
    if max_share is None or found.share <= max_share:
        return
    lines = [f"  {pair.test} is in train as {pair.train}: {pair.how}{_official(pair)}" for pair in found.pairs]
    more = [f"  ... and {found.leaked - len(lines)} more"] if found.leaked > len(lines) else []
    head = f"{found.leaked} of {found.test} test samples are in train, {found.share:.2%}, at most {max_share:.2%}:"
    cure = (
        "drop near duplicates (ingest.duplicates), keep their clusters in one split (ingest.splits.by_cluster: true), "
        "take the rows out of the sources, or raise ingest.decontamination.max_share"
    )
    raise ContaminationError("\n".join([head, *lines, *more, cure]))


def _leak(draft: Draft, twin: Draft, near: Neighbours) -> Leak:
    both = draft.official is not None and twin.official is not None
    return Leak(_place(draft), _place(twin), draft.task.modality.value, _how(draft, twin, near), both)


def _how(draft: Draft, twin: Draft, near: Neighbours) -> str:
    if draft.task.modality is Modality.TEXT:
        if text_key(draft.task, draft.input, draft.style, draft.text) == text_key(
            twin.task, twin.input, twin.style, twin.text
        ):
            return "the same text"
        inputs = near.similarity(draft.content_id, twin.content_id)
        targets = near.similarity(_target(draft), _target(twin))
        known = [] if inputs is None or targets is None else [min(inputs, targets)]
    else:
        pairs = [(one, two) for one in _media(draft) for two in _media(twin)]
        if any(near.is_same(*pair) for pair in pairs):
            return "the same content"
        known = [found for pair in pairs if (found := near.similarity(*pair)) is not None]
    return f"similarity {max(known):.3f}" if known else "near duplicates of the same others"


def _target(draft: Draft) -> str:
    return content_digest(draft.text.encode())


def _media(draft: Draft) -> list[str]:
    return [one for one in (draft.content_id, draft.picture_id) if one]


def _place(draft: Draft) -> str:
    return f"{draft.source} {draft.uri}".encode("utf-8", "backslashreplace").decode()


def _official(pair: Leak) -> str:
    return " (both splits are official)" if pair.is_official else ""
