"""Minimum-Bayes-risk choice: of several texts drawn for one sample, the one most like the others."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence


def most_agreeable(texts: Sequence[str]) -> int:
    """Index of the text with the highest mean similarity to the others (Kumar and Byrne 2004; Eikema and Aziz 2020).

    Ties go to the first.
    """
    gains = [sum(ngram_f1(text, other) for other in texts) for text in texts]  # each likes itself equally well
    return gains.index(max(gains))


def ngram_f1(text: str, other: str) -> float:
    """Overlap of two texts' words and word pairs, 0 to 1: F1 over the multisets, which is symmetric."""
    first, second = _ngrams(text), _ngrams(other)
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 1.0


def _ngrams(text: str) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter([(word,) for word in words] + list(itertools.pairwise(words)))
