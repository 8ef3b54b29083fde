"""BLEU, ROUGE-L and CIDEr-D as the COCO caption evaluation defines them (pycocoevalcap gives the same values).

All take one hypothesis and at least one reference per picture and split them with a tokeniser that is part of the
signature; that of the published scores is `ptb_words`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq

from multimodal.errors import MultimodalError
from multimodal.evaluation.ngrams import Ints, NGrams, positions, word_lengths_and_ngrams
from multimodal.evaluation.ptb import ptb_words
from multimodal.evaluation.score import Score

Tokeniser = Callable[[str], list[str]]
Floats = NDArray[np.float64]

_TINY, _SMALL = 1e-15, 1e-9  # the smoothing constants of pycocoevalcap's BLEU
_ORDERS = 4
_ROUGE_BETA = 1.2
_CIDER_SIGMA = 6.0


def given_words(text: str) -> list[str]:
    """The text split at white space and nothing else, for texts that are tokenised already."""
    return text.split()


def caption_scores(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = ptb_words
) -> tuple[Score, ...]:
    """BLEU-1 to BLEU-4, ROUGE-L and CIDEr-D, in this order; the texts are split and their n-grams counted once for all.

    Raises:
        MultimodalError: as `corpus_bleu`.
    """
    corpus = _Corpus(hypotheses, references, tokenise)
    return (*_bleu_scores(corpus), _rouge_score(corpus), _cider_score(corpus))


def corpus_bleu(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = ptb_words
) -> tuple[Score, ...]:
    """BLEU-1 to BLEU-4 of a corpus, clipped counts, closest reference length (Papineni et al. 2002).

    Raises:
        MultimodalError: the lists are empty or of different length, or a picture has no reference.
    """
    return _bleu_scores(_Corpus(hypotheses, references, tokenise))


def _bleu_scores(corpus: _Corpus) -> tuple[Score, ...]:
    statistics = _bleu_statistics(corpus)
    totals = statistics.sum(axis=0).astype(int).tolist()
    lengths = {"hypothesis_length": totals[8], "reference_length": totals[9], "samples": corpus.samples}
    return tuple(
        Score(
            f"bleu_{order + 1}",
            value,
            {**lengths, "matches": totals[order], "guesses": totals[_ORDERS + order]},
            corpus.signature("bleu"),
        )
        for order, value in enumerate(bleu_from_statistics(statistics).tolist())
    )


def bleu_statistics(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = ptb_words
) -> Floats:
    """What BLEU needs to know of each picture [samples, 10]; sums of rows are what it needs to know of a corpus.

    The columns: matching 1- to 4-grams, 1- to 4-grams of the hypothesis, its words, words of the closest reference.

    Raises:
        MultimodalError: as `corpus_bleu`.
    """
    return _bleu_statistics(_Corpus(hypotheses, references, tokenise))


def _bleu_statistics(corpus: _Corpus) -> Floats:
    statistics = np.zeros((corpus.samples, 2 * _ORDERS + 2))
    for order, (mine, theirs) in enumerate(corpus.ngrams):
        keys = mine.of(np.arange(corpus.samples))
        places, found = positions(keys, theirs.of(corpus.sample_of_reference))
        most = np.zeros_like(keys)  # of any one reference
        np.maximum.at(most, places[found], theirs.counts[found])
        statistics[:, order] = np.bincount(mine.texts, np.minimum(mine.counts, most), corpus.samples)
        statistics[:, _ORDERS + order] = np.maximum(corpus.hypothesis_lengths - order, 0)
    statistics[:, -2] = corpus.hypothesis_lengths
    statistics[:, -1] = corpus.closest_lengths()
    return statistics


def bleu_from_statistics(statistics: Floats) -> Floats:
    """BLEU-1 to BLEU-4 [..., 4] of corpora whose pictures have the `bleu_statistics` [..., samples, 10].

    For a bootstrap, sums come cheaper than rows: `bleu_from_statistics((draws @ statistics)[:, None])`, where
    `draws` [resamples, samples] counts how often each picture was drawn.
    """
    totals = statistics.sum(axis=-2)
    matches, guesses = totals[..., :_ORDERS], totals[..., _ORDERS : 2 * _ORDERS]
    products = np.cumprod((matches + _TINY) / (guesses + _SMALL), axis=-1)
    ratios = (totals[..., -2:-1] + _TINY) / (totals[..., -1:] + _SMALL)
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratios))
    means: Floats = brevity * products ** (1 / np.arange(1, _ORDERS + 1))
    return means


def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = ptb_words) -> Score:
    """ROUGE-L: mean over pictures of the F-score (beta 1.2) of the longest common subsequence (Lin 2004).

    As in COCO, precision and recall are each the best over the references.

    Raises:
        MultimodalError: as `corpus_bleu`.
    """
    return _rouge_score(_Corpus(hypotheses, references, tokenise))


def _rouge_score(corpus: _Corpus) -> Score:
    values = _rouge_of_each(corpus)
    return Score("rouge_l", sum(values) / len(values), {"samples": len(values)}, corpus.signature("rouge_l:beta1.2"))


def rouge_l_of_each(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = ptb_words
) -> list[float]:
    """ROUGE-L of every picture, in order; see `rouge_l`."""
    return _rouge_of_each(_Corpus(hypotheses, references, tokenise))


def _rouge_of_each(corpus: _Corpus) -> list[float]:
    others = iter(corpus.words[corpus.samples :])
    pairs = zip(corpus.words[: corpus.samples], corpus.references_of_each, strict=True)
    return [_rouge_of_one(words, list(islice(others, count))) for words, count in pairs]


def _rouge_of_one(words: list[str], references: Sequence[list[str]]) -> float:
    words = words or [""]  # as in pycocoevalcap, a text without words is one empty word
    common = [(longest_common_subsequence(words, other or [""]), len(other) or 1) for other in references]
    precision = max(length for length, _ in common) / len(words)
    recall = max(length / size for length, size in common)
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + _ROUGE_BETA**2) * precision * recall / (recall + _ROUGE_BETA**2 * precision)


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence of two sequences of words."""
    return LCSseq.similarity(first, second)


def cider_d(hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = ptb_words) -> Score:
    """CIDEr-D: mean over pictures of ten times the TF-IDF similarity of 1- to 4-grams (Vedantam et al. 2015).

    The document frequencies are those of the references given, one document per picture; a corpus of one picture
    therefore scores 0. The most that can be reached is 10.

    Raises:
        MultimodalError: as `corpus_bleu`.
    """
    return _cider_score(_Corpus(hypotheses, references, tokenise))


def _cider_score(corpus: _Corpus) -> Score:
    values = _cider_of_each(corpus)
    signature = corpus.signature("cider_d:n4,sigma6,df=references")
    return Score("cider_d", sum(values) / len(values), {"samples": len(values)}, signature)


def cider_d_of_each(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = ptb_words
) -> list[float]:
    """CIDEr-D of every picture, in order; see `cider_d`."""
    return _cider_of_each(_Corpus(hypotheses, references, tokenise))


def _cider_of_each(corpus: _Corpus) -> list[float]:
    owners = corpus.sample_of_reference
    similarities = np.zeros(len(owners))
    for mine, theirs in corpus.ngrams:
        documents = _distinct(theirs.of(owners)) % max(1, mine.distinct)
        frequencies = np.bincount(documents, minlength=mine.distinct)
        rarity = math.log(corpus.samples) - np.log(np.maximum(1, frequencies))
        weights, others = mine.counts * rarity[mine.grams], theirs.counts * rarity[theirs.grams]
        norms = _norms(mine, weights, corpus.samples)[owners] * _norms(theirs, others, len(owners))
        places, found = positions(mine.of(np.arange(corpus.samples)), theirs.of(owners))
        shared = np.minimum(weights[places[found]], others[found]) * others[found]
        products = np.bincount(theirs.texts[found], shared, len(owners))
        similarities += np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0)
    # Lengths in bigrams, as in pycocoevalcap.
    deltas = np.maximum(corpus.hypothesis_lengths - 1, 0)[owners] - np.maximum(corpus.reference_lengths - 1, 0)
    similarities *= np.exp(-(deltas**2) / (2 * _CIDER_SIGMA**2)) / _ORDERS
    values: list[float] = (10 * np.bincount(owners, similarities) / np.bincount(owners)).tolist()
    return values


def _distinct(numbers: Ints) -> Ints:
    """The distinct ones of numbers that are sorted in long runs, for which merging is far cheaper than np.unique."""
    merged = np.sort(numbers, kind="stable")
    return merged[np.flatnonzero(np.diff(merged, prepend=-1))]


def _norms(ngrams: NGrams, weights: Floats, texts: int) -> Floats:
    return np.sqrt(np.bincount(ngrams.texts, weights**2, texts))


class _Corpus:
    """The words of hypotheses and references as arrays."""

    def __init__(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser) -> None:
        check_references(hypotheses, references)
        self.tokenise = tokenise
        self.samples = len(hypotheses)
        self.references_of_each = [len(texts) for texts in references]
        self.sample_of_reference: Ints = np.repeat(np.arange(self.samples), self.references_of_each)
        self.words = [tokenise(text) for text in chain(hypotheses, chain.from_iterable(references))]

    @cached_property
    def _lengths_and_orders(self) -> tuple[Ints, list[NGrams]]:
        lengths, orders = word_lengths_and_ngrams(self.words, _ORDERS)
        return lengths, list(orders)

    @property
    def hypothesis_lengths(self) -> Ints:
        """Words [samples]."""
        return self._lengths_and_orders[0][: self.samples]

    @property
    def reference_lengths(self) -> Ints:
        """Words [references]."""
        return self._lengths_and_orders[0][self.samples :]

    @cached_property
    def ngrams(self) -> list[tuple[NGrams, NGrams]]:
        """The n-grams of the hypotheses and of the references, order by order."""
        last = self.samples + len(self.sample_of_reference)
        return [(order.take(0, self.samples), order.take(self.samples, last)) for order in self._lengths_and_orders[1]]

    def signature(self, metric: str) -> str:
        """Of a score: the metric's, its kind and the tokeniser."""
        return f"{metric}|coco|tok:{self.tokenise.__name__}"

    def closest_lengths(self) -> Ints:
        """Words of the reference that is nearest in length to the hypothesis, the shorter of two [samples]."""
        owners = self.sample_of_reference
        distances = np.abs(self.reference_lengths - self.hypothesis_lengths[owners])
        first = np.unique(owners, return_index=True)[1]  # after sorting, the first of each picture is the closest
        closest: Ints = self.reference_lengths[np.lexsort((self.reference_lengths, distances, owners))][first]
        return closest


def check_references(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuse lists that are empty or of different length, and pictures without references, by a `MultimodalError`."""
    if not hypotheses or len(hypotheses) != len(references):
        raise MultimodalError(f"cannot score {len(hypotheses)} hypotheses against {len(references)} sets of references")
    if not all(references):
        raise MultimodalError("a hypothesis has no reference; leave out samples that have no text")
