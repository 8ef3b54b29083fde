"""Counts of word n-grams of many texts at once, as sorted arrays: what BLEU and CIDEr-D are computed from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NGrams:
    """The distinct n-grams of each text, of one order, sorted by text and n-gram. All arrays are of one length.

    Args:
        texts: index of the text of each entry.
        grams: the n-gram, a number below `distinct`.
        counts: how often the text has it.
        distinct: how many n-grams there are over all texts.
    """

    texts: Ints
    grams: Ints
    counts: Ints
    distinct: int

    def take(self, first: int, last: int) -> NGrams:
        """The entries of the texts first to last - 1, renumbered from 0."""
        start, end = np.searchsorted(self.texts, (first, last))
        return NGrams(self.texts[start:end] - first, self.grams[start:end], self.counts[start:end], self.distinct)

    def of(self, groups: Ints) -> Ints:
        """One number per entry for its n-gram within its text's group; `groups` [texts]."""
        return groups[self.texts] * self.distinct + self.grams


def word_lengths_and_ngrams(texts: Sequence[Sequence[str]], highest: int) -> tuple[Ints, Iterator[NGrams]]:
    """The number of words of each text [texts], and its n-grams of the orders 1 to `highest`.

    A word that holds white space counts as several, as it does in pycocoevalcap's BLEU and CIDEr-D.
    """
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    ids = np.fromiter(map(numbers.__getitem__, chain.from_iterable(texts)), dtype=np.int64)
    if any(len(word.split()) != 1 for word in numbers):
        return word_lengths_and_ngrams([" ".join(words).split() for words in texts], highest)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    return lengths, _orders(ids, lengths, len(numbers), highest)


def _orders(ids: Ints, lengths: Ints, words: int, highest: int) -> Iterator[NGrams]:
    texts = np.repeat(np.arange(len(lengths)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(ids))  # words from here to the end of the text
    grams, distinct = ids, words
    for order in range(1, highest + 1):
        if order > 1:
            inside = left >= order
            following = ids[np.flatnonzero(left >= order) + order - 1]
            kept = grams[inside[left >= order - 1]]
            grams, known = pd.factorize(kept * words + following)  # hashes: much cheaper than np.unique's sorting
            distinct = len(known)
        keys, counts = np.unique(texts[left >= order] * distinct + grams, return_counts=True)
        yield NGrams(*np.divmod(keys, max(1, distinct)), counts, distinct)


def positions(keys: Ints, wanted: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Where each of `wanted` stands in the sorted `keys`, and whether it does at all."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return places, keys[places] == wanted
