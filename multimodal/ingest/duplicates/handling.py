"""Which kept rows are near duplicates of which: what `flag` and `drop` go by."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from multimodal.dataset import Fate, LedgerRow
from multimodal.ingest.drafts import Draft
from multimodal.ingest.duplicates.clusters import Neighbours
from multimodal.ingest.duplicates.options import DuplicateOptions
from multimodal.ingest.splits import PRECEDENCE
from multimodal.ingest.waiting import KeptRows
from multimodal.sample import Modality, Split, Task, content_digest


@dataclass(frozen=True, slots=True, order=True)
class _Unit:
    """What rows have in common that are kept or dropped together: captions of one picture, say.

    Args:
        rank: of the content's official split: what is tested is kept, and its likes in train are not.
        parts: ids of all that must be alike: content, picture beside it and, of text, the target.
    """

    rank: int
    parts: tuple[str, ...]
    task: Task
    style: str
    hint: str

    def place(self, content_id: str) -> tuple[str, ...]:
        """Where units lie that this one can repeat, if their content is that one."""
        return (self.task, self.style, self.hint, content_id)


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """A row that is nearly another one.

    Args:
        of: sample id of the row that came first in the canonical order.
        detail: for the ledger.
        is_dropped: whether the row is not kept.
    """

    of: str
    detail: str
    is_dropped: bool


def near_duplicates(
    kept: KeptRows,
    near: Neighbours,
    official: Callable[[str], Split | None],
    options: DuplicateOptions,
) -> dict[str, NearDuplicate]:
    """Sample id -> what it nearly is, of all rows that are nearly an earlier one.

    The canonical order is: contents of an official test split, of val, of train or none, each by content id. It does
    not depend on the order of rows. In this order each row is compared with those that were no near duplicates before
    it: what is dropped is always like a row that stays, never only like one that was dropped too.

    Args:
        kept: the rows, without exact duplicates.
        official: content id -> split that a source claims for it.
    """
    if options.are_off:
        return {}
    units: defaultdict[_Unit, array[int]] = defaultdict(partial(array, "L"))  # numbers of rows: there may be millions
    for number, draft in enumerate(kept):
        if options.of(draft.task.modality) != "off":
            units[_unit(draft, official(draft.content_id))].append(number)
    first: defaultdict[tuple[str, ...], list[_Unit]] = defaultdict(list)
    found: dict[str, NearDuplicate] = {}
    for unit in sorted(units):
        others = (other for place in _places(unit, near) for other in first[place])
        likes = [(-similarity, other) for other in others if (similarity := _similarity(unit, other, near)) is not None]
        if not likes:
            first[unit.place(unit.parts[0])].append(unit)
            continue
        less, nearest = min(likes)
        originals = [(kept.sample_id(number), kept[number]) for number in units[nearest]]
        for number in units[unit]:
            found[kept.sample_id(number)] = _near_duplicate(kept[number], originals, -less, near, options)
    return found


def settle(row: LedgerRow, found: Mapping[str, NearDuplicate]) -> LedgerRow:
    """The fate of a row, now that near duplicates are known."""
    if row.fate is Fate.KEPT and (nearly := found.get(row.sample_id)):
        if not nearly.is_dropped:
            return replace(row, detail="; ".join(filter(None, (row.detail, nearly.detail))))
        return replace(row, fate=Fate.DUPLICATE, detail=nearly.detail, duplicate_of=nearly.of)
    if row.fate is Fate.DUPLICATE and (nearly := found.get(row.duplicate_of)) and nearly.is_dropped:
        return replace(row, detail=f"{row.detail}, {nearly.detail}", duplicate_of=nearly.of)
    return row


def _unit(draft: Draft, official: Split | None) -> _Unit:
    target = content_digest(draft.text.encode()) if draft.task.modality is Modality.TEXT else ""
    rank = PRECEDENCE.index(official or Split.TRAIN)
    return _Unit(rank, (draft.content_id, draft.picture_id, target), draft.task, draft.style, draft.hint)


def _places(unit: _Unit, near: Neighbours) -> Iterable[tuple[str, ...]]:
    return (unit.place(content_id) for content_id in (unit.parts[0], *near.of(unit.parts[0])))


def _similarity(unit: _Unit, other: _Unit, near: Neighbours) -> float | None:
    """Of the parts that are least alike; None where two parts are no near duplicates."""
    parts = [near.similarity(*pair) for pair in zip(unit.parts, other.parts, strict=True)]
    known = [part for part in parts if part is not None]
    return min(known) if len(known) == len(parts) else None


def _near_duplicate(
    draft: Draft,
    nearest: Sequence[tuple[str, Draft]],
    similarity: float,
    near: Neighbours,
    options: DuplicateOptions,
) -> NearDuplicate:
    sample_id, first = next((each for each in nearest if each[1].text == draft.text), nearest[0])
    where = f"{first.source} {first.uri}"
    if draft.task.modality is not Modality.TEXT and near.is_same(draft.content_id, first.content_id):
        detail = f"decodes to the same content as {where}"
    else:
        detail = f"near duplicate of {where}: similarity {similarity:.3f}"
    return NearDuplicate(sample_id, detail, options.of(draft.task.modality) == "drop")
