"""Which words go wrong: substitutions, deletions and insertions by word, and the most frequent confusions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from multimodal.evaluation.error_rates import word_alignment
from multimodal.evaluation.normalizers import NormaliserName

_MOST = 12


@dataclass(frozen=True, slots=True)
class WordCounts:
    """One word: how often the references say it, and how often it was replaced, left out and put in."""

    word: str
    said: int
    substituted: int
    deleted: int
    inserted: int

    @property
    def errors(self) -> int:
        """All three."""
        return self.substituted + self.deleted + self.inserted


@dataclass(frozen=True, slots=True)
class Confusion:
    """What was said and what was written in its place; of a deletion `written` is "", of an insertion `said`."""

    said: str
    written: str
    count: int


@dataclass(frozen=True, slots=True)
class WordErrors:
    """The word errors of a task; sums over all samples, then the most frequent words and confusions."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int
    words: tuple[WordCounts, ...]
    confusions: tuple[Confusion, ...]


def word_errors(
    hypotheses: Sequence[str], references: Sequence[str], normaliser: NormaliserName = "none"
) -> WordErrors:
    """Count word errors along a minimal alignment of each pair, as WER counts them (`error_rates.word_alignment`)."""
    pairs: Counter[tuple[str, str]] = Counter()
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        aligned = word_alignment(hypothesis, reference, normaliser)
        pairs.update((said or "", written or "") for _, said, written in aligned)
    by_kind = {name: Counter[str]() for name in ("said", "substituted", "deleted", "inserted")}
    for (said, written), count in pairs.items():
        if said:
            by_kind["said"][said] += count
        if said != written:
            kind = "inserted" if not said else "deleted" if not written else "substituted"
            by_kind[kind][said or written] += count
    wrong = by_kind["substituted"] + by_kind["deleted"] + by_kind["inserted"]
    return WordErrors(
        hits=sum(count for (said, written), count in pairs.items() if said == written),
        substitutions=by_kind["substituted"].total(),
        deletions=by_kind["deleted"].total(),
        insertions=by_kind["inserted"].total(),
        words=tuple(WordCounts(word, *(by_kind[name][word] for name in by_kind)) for word in most_common(wrong)),
        confusions=confusions((said, written, count) for (said, written), count in pairs.items()),
    )


def confusions(pairs: Iterable[tuple[str, str, int]]) -> tuple[Confusion, ...]:
    """The most frequent pairs (said, written, count) that differ, at most 12."""
    different = [Confusion(*pair) for pair in pairs if pair[0] != pair[1]]
    return tuple(sorted(different, key=lambda pair: (-pair.count, pair.said, pair.written))[:_MOST])


def most_common(counts: Counter[str]) -> list[str]:
    """The twelve most frequent keys; those of equal counts by name, so that two runs give the same page."""
    return [word for word, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:_MOST]]
