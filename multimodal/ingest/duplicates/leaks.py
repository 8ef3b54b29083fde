"""Decontamination after ingest: test samples that train holds too, exactly or nearly, and the gate on their share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from multimodal.errors import ContaminationError
from multimodal.ingest.drafts import Draft
from multimodal.ingest.duplicates.clusters import Neighbours
from multimodal.ingest.duplicates.options import DecontaminationOptions
from multimodal.ingest.duplicates.plain import plain, text_key
from multimodal.sample import Modality, Split, content_digest

PAIRS_NAMED = 20
TARGETS = ("target", "near target")
"""Kinds of keys that targets alone are compared by."""

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
        across_tasks: leaked ones that train holds for other tasks only.
        pairs: the first of them by sample id, at most `PAIRS_NAMED`.
    """

    test: int
    leaked: int
    by_modality: Mapping[str, int]
    pairs: tuple[Leak, ...]
    across_tasks: int = 0

    @property
    def share(self) -> float:
        """Of the test samples."""
        return self.leaked / self.test if self.test else 0.0


class LeakFinder:
    """Compares test with train.

    Pictures and sounds leak if train holds, for whatever task, one of the same cluster of near duplicates, or the
    same picture beside its content. Texts leak by input and target together, and by target alone as
    `DecontaminationOptions.texts` says.

    Args:
        split: content id -> split.
        near: near duplicates; of modalities that were not compared nearly, only exact repetitions are found.
        pictures: content ids of all pictures that lie beside another content.
        options: which texts are compared.
    """

    def __init__(
        self,
        split: Callable[[str], Split],
        near: Neighbours,
        pictures: Collection[str],
        options: DecontaminationOptions,
    ) -> None:
        self._split, self._near, self._pictures, self._options = split, near, pictures, options
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
        leaked: list[tuple[str, Draft, Draft, Key]] = []
        if self._wanted:
            for _, draft in rows():
                if self._split(draft.content_id) is Split.TRAIN:
                    for key in self._keys(draft):
                        if key in self._wanted:
                            held.setdefault(key, draft)
        if held:
            for sample_id, draft in rows():
                if self._split(draft.content_id) is Split.TEST:
                    shared = next((key for key in self._keys(draft) if key in held), None)
                    if shared is not None:
                        leaked.append((sample_id, draft, held[shared], shared))
        by_modality = Counter(draft.task.modality.value for _, draft, *_ in leaked)
        across = sum(key[0] in TARGETS and draft.task is not twin.task for _, draft, twin, key in leaked)
        first = sorted(leaked, key=lambda one: one[0])[:PAIRS_NAMED]
        pairs = tuple(_leak(draft, twin, key, self._near) for _, draft, twin, key in first)
        return Contamination(self._tests, len(leaked), dict(sorted(by_modality.items())), pairs, across)

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
        if draft.picture_id:
            keys = keys + self._media_keys(draft.picture_id)
        return keys + self._target_keys(draft)

    def _target_keys(self, draft: Draft) -> list[Key]:
        """Of the same task first: an answer that another task taught counts as such only where its own did not."""
        words = plain(draft.text)
        if not words or not self._options.compares_target(draft.task.modality, draft.text):
            return []
        target = _target(draft)
        found: list[Key] = [("target", words)]
        if self._near.of(target):
            found.append(("near target", self._near.cluster(target)))
        return [(kind, draft.task, key) for kind, key in found] + found

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
        "take the rows out of the sources, say which texts count (ingest.decontamination.texts), or raise "
        "ingest.decontamination.max_share"
    )
    raise ContaminationError("\n".join([head, *lines, *more, cure]))


def _leak(draft: Draft, twin: Draft, key: Key, near: Neighbours) -> Leak:
    both = draft.official is not None and twin.official is not None
    how = _how_targets(draft, twin, near) if key[0] in TARGETS else _how(draft, twin, near)
    return Leak(_place(draft), _place(twin), draft.task.modality.value, how, both)


def _how_targets(draft: Draft, twin: Draft, near: Neighbours) -> str:
    of = "" if draft.task is twin.task else f" of {draft.task} and {twin.task}"
    if plain(draft.text) == plain(twin.text):
        return f"the same target{of}"
    similarity = near.similarity(_target(draft), _target(twin))
    likeness = "near duplicates of the same others" if similarity is None else f"similarity {similarity:.3f}"
    return f"targets{of}: {likeness}"


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
