"""What a model writes, looked at without asking whether it is right: variety, repetition, length, copies from train.

Words are those of `ptb.ptb_words`, as in the caption scores.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from multimodal.errors import MultimodalError
from multimodal.evaluation.captions import Tokeniser
from multimodal.evaluation.ptb import ptb_words
from multimodal.evaluation.score import Score

_CIDER_ORDERS = 4
NGram = tuple[str, ...]


def distinct_n(texts: Sequence[str], order: int = 2, tokenise: Tokeniser = ptb_words) -> Score:
    """Distinct n-grams over all n-grams of the corpus, 0 to 1 (Li et al. 2016).

    It falls with the number of texts: compare only corpora of one size.

    Raises:
        MultimodalError: there are no texts.
    """
    _check(len(texts), len(texts))
    ngrams = [ngram for text in texts for ngram in _ngrams(tokenise(text), order)]
    counts = {"distinct": len(set(ngrams)), "ngrams": len(ngrams), "samples": len(texts)}
    value = counts["distinct"] / max(1, len(ngrams))
    return Score(f"distinct_{order}", value, counts, _signature(f"distinct:{order},corpus", tokenise))


def repetition_rate(texts: Sequence[str], order: int = 3, tokenise: Tokeniser = ptb_words) -> Score:
    """The share of a text's n-grams that stood earlier in the same text, summed over all (rep-n, Su et al. 2022).

    Raises:
        MultimodalError: there are no texts.
    """
    _check(len(texts), len(texts))
    of_each = [list(_ngrams(tokenise(text), order)) for text in texts]
    total = sum(len(ngrams) for ngrams in of_each)
    repeated = total - sum(len(set(ngrams)) for ngrams in of_each)
    counts = {"repeated": repeated, "ngrams": total, "samples": len(texts)}
    return Score("repetition_rate", repeated / max(1, total), counts, _signature(f"rep:{order}", tokenise))


def length_error(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokeniser = ptb_words
) -> Score:
    """How many words too long or too short, over the words of the reference of the nearest length; sums over all.

    `counts["length_ratio"]` says in which direction: above 1 the texts are too long.

    Raises:
        MultimodalError: the lists are empty or of different length, or a text has no reference.
    """
    _check(len(hypotheses), len(references))
    if not all(references):
        raise MultimodalError("a hypothesis has no reference; leave out samples that have no text")
    wrong = ours = theirs = 0
    for hypothesis, texts in zip(hypotheses, references, strict=True):
        length = len(tokenise(hypothesis))
        difference, nearest = min((abs(size - length), size) for size in (len(tokenise(text)) for text in texts))
        wrong, ours, theirs = wrong + difference, ours + length, theirs + nearest
    counts = {"words_off": wrong, "reference_words": theirs, "length_ratio": ours / max(1, theirs)}
    signature = _signature("length_error:nearest", tokenise)
    return Score("length_error", wrong / max(1, theirs), counts | {"samples": len(hypotheses)}, signature)


def copy_rate(texts: Sequence[str], train: AbstractSet[tuple[str, ...]], tokenise: Tokeniser = ptb_words) -> Score:
    """The share of texts that stand in train, word for word.

    Args:
        texts: what was written.
        train: the train texts as `tokenised_set` gives them.
        tokenise: the tokeniser that made `train`.

    Raises:
        MultimodalError: there are no texts.
    """
    _check(len(texts), len(texts))
    copied = sum(tuple(tokenise(text)) in train for text in texts)
    counts = {"copied": copied, "samples": len(texts), "train_texts": len(train)}
    return Score("copy_rate", copied / len(texts), counts, _signature("copy:whole text", tokenise))


def tokenised_set(texts: Iterable[str], tokenise: Tokeniser = ptb_words) -> frozenset[tuple[str, ...]]:
    """The distinct texts, as their words."""
    return frozenset(tuple(tokenise(text)) for text in set(texts))


def self_cider(
    captions: Sequence[Sequence[str]], references: Sequence[Sequence[str]], tokenise: Tokeniser = ptb_words
) -> Score:
    """Self-CIDEr: how different the captions of one picture are from each other, 0 (all the same) to 1.

    For each picture the eigenvalues l of the matrix of CIDEr likenesses between its m captions give
    -log_m(sqrt(l_max) / sum of sqrt(l)); the score is the mean over pictures (Wang & Chan 2019).

    Args:
        captions: of each picture at least two.
        references: of each picture, for the document frequencies.
        tokenise: the tokeniser.

    Raises:
        MultimodalError: the lists are empty or of different length, or a picture has fewer than two captions.
    """
    _check(len(captions), len(references))
    if min(len(texts) for texts in captions) < 2:
        raise MultimodalError("self-CIDEr compares captions of one picture: write at least two for each")
    weigh = _weights(references, tokenise)
    values = []
    for texts in captions:
        vectors = [_vectors(tokenise(text), weigh) for text in texts]
        likeness = np.array([[_likeness(first, second) for second in vectors] for first in vectors])
        roots = np.sqrt(np.clip(np.linalg.eigvalsh(likeness), 0, None))
        values.append(-math.log(roots.max() / roots.sum()) / math.log(len(texts)) if roots.sum() else 0.0)
    return Score("self_cider", float(np.mean(values)), {"samples": len(values)}, _signature("self_cider:n4", tokenise))


def _weights(references: Sequence[Sequence[str]], tokenise: Tokeniser) -> tuple[Mapping[NGram, int], float]:
    """In how many pictures' references an n-gram stands, and the logarithm of the number of pictures."""
    documents: Counter[NGram] = Counter()
    for texts in references:
        documents.update({ngram for text in texts for ngram in _all_ngrams(tokenise(text))})
    return documents, math.log(len(references))


def _vectors(words: Sequence[str], weights: tuple[Mapping[NGram, int], float]) -> list[dict[NGram, float]]:
    """Unit vectors of TF-IDF weights, one of each order; of length 0 where no n-gram has any weight."""
    documents, log_size = weights
    made: list[dict[NGram, float]] = []
    for order in range(1, _CIDER_ORDERS + 1):
        counts = Counter(_ngrams(words, order))
        vector = {ngram: n * (log_size - math.log(max(1, documents.get(ngram, 0)))) for ngram, n in counts.items()}
        norm = math.sqrt(sum(value * value for value in vector.values()))
        made.append({ngram: value / norm for ngram, value in vector.items()} if norm else {})
    return made


def _likeness(first: list[dict[NGram, float]], second: list[dict[NGram, float]]) -> float:
    """CIDEr of one text against another, 0 to 1: the mean over the orders of the cosines."""
    return sum(
        sum(mine[ngram] * theirs[ngram] for ngram in mine.keys() & theirs.keys())
        for mine, theirs in zip(first, second, strict=True)
    ) / len(first)


def _all_ngrams(words: Sequence[str]) -> Iterable[NGram]:
    return (ngram for order in range(1, _CIDER_ORDERS + 1) for ngram in _ngrams(words, order))


def _ngrams(words: Sequence[str], order: int) -> Iterable[NGram]:
    return zip(*(words[start:] for start in range(order)), strict=False)


def _signature(metric: str, tokenise: Tokeniser) -> str:
    return f"{metric}|tok:{tokenise.__name__}"


def _check(texts: int, references: int) -> None:
    if not texts or texts != references:
        raise MultimodalError(f"cannot score {texts} texts against {references} sets of references")
