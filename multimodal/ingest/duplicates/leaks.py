"""Decontamination after ingest: test samples that train holds too, exactly or nearly, and the gate on their share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
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


def find_leaks(drafts: Iterable[Draft], split: Callable[[str], Split], near: Neighbours) -> Contamination:
    """Compare test with train.

    Pictures and sounds leak if train holds, for whatever task, one of the same cluster of near duplicates, or the
    same picture beside its content. Texts leak by input and target together: that two clips say the same sentence, or
    two pictures have one caption, is no leak.

    Args:
        drafts: all kept rows.
        split: content id -> split.
        near: near duplicates; of modalities that were not compared nearly, only exact repetitions are found.
    """
    tests: list[Draft] = []
    trains: list[Draft] = []
    for draft in drafts:
        kind = split(draft.content_id)
        if kind is not Split.VAL:
            (tests if kind is Split.TEST else trains).append(draft)
    wanted = {key for draft in tests for key in _keys(draft, near)}
    held: dict[Key, Draft] = {}
    for draft in trains:
        for key in _keys(draft, near):
            if key in wanted:
                held.setdefault(key, draft)
    leaked: list[tuple[str, Draft, Draft]] = []
    for draft in tests:
        twin = next((held[key] for key in _keys(draft, near) if key in held), None)
        if twin is not None:
            leaked.append((draft.sample_id, draft, twin))
    by_modality = Counter(draft.task.modality.value for _, draft, _ in leaked)
    first = sorted(leaked, key=lambda one: one[0])[:PAIRS_NAMED]
    pairs = tuple(_leak(draft, twin, near) for _, draft, twin in first)
    return Contamination(len(tests), len(leaked), dict(sorted(by_modality.items())), pairs)


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


def _keys(draft: Draft, near: Neighbours) -> list[Key]:
    """What a row shares with another that repeats it: exact repetitions first."""
    if draft.task.modality is Modality.TEXT:
        clusters = (near.cluster(draft.content_id), draft.style, near.cluster(_target(draft)))
        exact = text_key(draft.task, draft.input, draft.style, draft.text)
        keys: list[Key] = [("text", draft.task, *exact), ("near text", draft.task, *clusters)]
    else:
        keys = [("content", draft.content_id), ("near content", near.cluster(draft.content_id))]
    if draft.picture_id:
        keys += [("content", draft.picture_id), ("near content", near.cluster(draft.picture_id))]
    return keys


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
