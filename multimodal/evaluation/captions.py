"""BLEU, ROUGE-L and CIDEr-D as the COCO caption evaluation defines them (pycocoevalcap gives the same values).

All take one hypothesis and at least one reference per picture and split them with a tokeniser that is part of the
signature. The reference scores use the Stanford PTB tokeniser; `caption_words` is a simpler one.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from multimodal.errors import MultimodalError
from multimodal.evaluation.score import Score

Tokeniser = Callable[[str], list[str]]
NGram = tuple[str, ...]

_TINY, _SMALL = 1e-15, 1e-9  # the smoothing constants of pycocoevalcap's BLEU
_ROUGE_BETA = 1.2
_CIDER_SIGMA = 6.0
_CIDER_ORDER = 4
_WORD = re.compile(r"\w+(?:['’\-]\w+)*")


def caption_words(text: str) -> list[str]:
    """Lower-cased words; punctuation is split off and dropped, inner apostrophes and hyphens stay ("wide-eyed")."""
    return _WORD.findall(text.lower())


def given_words(text: str) -> list[str]:
    """The text split at white space and nothing else, for texts that are tokenised already."""
    return text.split()


def corpus_bleu(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = caption_words
) -> tuple[Score, ...]:
    """BLEU-1 to BLEU-4 of a corpus, clipped counts, closest reference length (Papineni et al. 2002).

    Raises:
        MultimodalError: the lists are empty or of different length, or a picture has no reference.
    """
    _check(hypotheses, references)
    matches, guesses = [0] * 4, [0] * 4
    hypothesis_length = reference_length = 0
    for hypothesis, texts in zip(hypotheses, references, strict=True):
        words = tokenise(hypothesis)
        others = [tokenise(text) for text in texts]
        hypothesis_length += len(words)
        reference_length += _closest_length(len(words), others)
        for order in range(4):
            most = _most(_ngrams(other, order + 1) for other in others)
            counted = _ngrams(words, order + 1)
            matches[order] += sum(min(count, most.get(ngram, 0)) for ngram, count in counted.items())
            guesses[order] += max(0, len(words) - order)
    counts = {"hypothesis_length": hypothesis_length, "reference_length": reference_length, "samples": len(hypotheses)}
    return _bleu_scores(matches, guesses, counts, _signature("bleu", tokenise))


def _bleu_scores(
    matches: Sequence[int], guesses: Sequence[int], counts: Mapping[str, float], signature: str
) -> tuple[Score, ...]:
    ratio = (counts["hypothesis_length"] + _TINY) / (counts["reference_length"] + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for order, (matched, guessed) in enumerate(zip(matches, guesses, strict=True), start=1):
        product *= (matched + _TINY) / (guessed + _SMALL)
        own = {"matches": matched, "guesses": guessed}
        scores.append(Score(f"bleu_{order}", brevity * product ** (1 / order), {**counts, **own}, signature))
    return tuple(scores)


def rouge_l(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = caption_words
) -> Score:
    """ROUGE-L: mean over pictures of the F-score (beta 1.2) of the longest common subsequence (Lin 2004).

    As in COCO, precision and recall are each the best over the references.

    Raises:
        MultimodalError: as `corpus_bleu`.
    """
    _check(hypotheses, references)
    total = sum(
        _rouge_of_one(tokenise(hypothesis), [tokenise(text) for text in texts])
        for hypothesis, texts in zip(hypotheses, references, strict=True)
    )
    samples = len(hypotheses)
    return Score("rouge_l", total / samples, {"samples": samples}, _signature("rouge_l:beta1.2", tokenise))


def _rouge_of_one(words: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    common = [(longest_common_subsequence(words, other), len(other)) for other in references]
    precision = max(length for length, _ in common) / max(1, len(words))
    recall = max(length / max(1, size) for length, size in common)
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + _ROUGE_BETA**2) * precision * recall / (recall + _ROUGE_BETA**2 * precision)


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence of two sequences of words."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = 0  # the entry above and to the left
        for column, other in enumerate(second, start=1):
            above = row[column]
            row[column] = before + 1 if word == other else max(above, row[column - 1])
            before = above
    return row[-1]


def cider_d(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = caption_words
) -> Score:
    """CIDEr-D: mean over pictures of ten times the TF-IDF similarity of 1- to 4-grams (Vedantam et al. 2015).

    The document frequencies are those of the references given, one document per picture; a corpus of one picture
    therefore scores 0. The most that can be reached is 10.

    Raises:
        MultimodalError: as `corpus_bleu`.
    """
    values = cider_d_of_each(hypotheses, references, tokenise)
    signature = _signature("cider_d:n4,sigma6,df=references", tokenise)
    return Score("cider_d", sum(values) / len(values), {"samples": len(values)}, signature)


def cider_d_of_each(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = caption_words
) -> list[float]:
    """CIDEr-D of every picture, in order; see `cider_d`."""
    _check(hypotheses, references)
    counted = [[_all_ngrams(tokenise(text)) for text in texts] for texts in references]
    documents = Counter(ngram for texts in counted for ngram in {ngram for text in texts for ngram in text})
    weigh = _Weights({ngram: math.log(max(1, count)) for ngram, count in documents.items()}, math.log(len(counted)))
    values = []
    for hypothesis, texts in zip(hypotheses, counted, strict=True):
        vector = weigh(_all_ngrams(tokenise(hypothesis)))
        values.append(10 * sum(vector.similarity(weigh(text)) for text in texts) / len(texts))
    return values


class _Vector:
    """TF-IDF weights of the n-grams of one text, a dict and a norm for each order."""

    __slots__ = ("length", "norms", "weights")

    def __init__(self, weights: list[dict[NGram, float]], length: int) -> None:
        self.weights = weights
        self.length = length  # in bigrams, as in pycocoevalcap
        self.norms = [math.sqrt(sum(weight * weight for weight in order.values())) for order in weights]

    def similarity(self, reference: _Vector) -> float:
        total = 0.0
        for order in range(_CIDER_ORDER):
            others = reference.weights[order]
            norm = self.norms[order] * reference.norms[order]
            if norm:
                mine = self.weights[order]
                total += sum(min(mine[key], others[key]) * others[key] for key in mine.keys() & others.keys()) / norm
        delta = self.length - reference.length
        return total / _CIDER_ORDER * math.exp(-(delta**2) / (2 * _CIDER_SIGMA**2))


class _Weights:
    """Turns n-gram counts into a `_Vector`, by log document frequencies and log number of documents."""

    def __init__(self, log_frequencies: Mapping[NGram, float], log_documents: float) -> None:
        self.log_frequencies = log_frequencies
        self.log_documents = log_documents

    def __call__(self, counts: Mapping[NGram, int]) -> _Vector:
        weights: list[dict[NGram, float]] = [{} for _ in range(_CIDER_ORDER)]
        length = 0
        for ngram, count in counts.items():
            weights[len(ngram) - 1][ngram] = count * (self.log_documents - self.log_frequencies.get(ngram, 0.0))
            if len(ngram) == 2:
                length += count
        return _Vector(weights, length)


def _all_ngrams(words: Sequence[str]) -> Counter[NGram]:
    counts: Counter[NGram] = Counter()
    for order in range(1, _CIDER_ORDER + 1):
        counts.update(_ngrams(words, order))
    return counts


def _ngrams(words: Sequence[str], order: int) -> Counter[NGram]:
    if order == 2:
        return Counter(pairwise(words))
    return Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))


def _most(counters: Iterable[Counter[NGram]]) -> dict[NGram, int]:
    most: dict[NGram, int] = defaultdict(int)
    for counter in counters:
        for ngram, count in counter.items():
            most[ngram] = max(most[ngram], count)
    return most


def _closest_length(length: int, references: Sequence[Sequence[str]]) -> int:
    return min((abs(len(reference) - length), len(reference)) for reference in references)[1]


def _signature(metric: str, tokenise: Tokeniser) -> str:
    return f"{metric}|coco|tok:{tokenise.__name__}"


def _check(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not hypotheses or len(hypotheses) != len(references):
        raise MultimodalError(f"cannot score {len(hypotheses)} hypotheses against {len(references)} sets of references")
    if not all(references):
        raise MultimodalError("a hypothesis has no reference; leave out samples that have no text")
