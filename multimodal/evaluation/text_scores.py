"""Scores from text to text: BLEU and chrF of sacrebleu, GLEU for correction, SARI for simplification.

GLEU and SARI look at the input too: what was changed counts, not only what came out. Both split texts with sacrebleu's
`13a` tokeniser, case kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.metadata import version

import numpy as np
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from multimodal.errors import MultimodalError
from multimodal.evaluation.score import Score

_ORDERS = 4
_GLEU_ROUNDS = 500
Counts = list[Counter[tuple[str, ...]]]


def sacre_bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]], name: str = "sacrebleu") -> Score:
    """BLEU of sacrebleu, 0 to 100, against all references of each text; with sacrebleu's signature (Post 2018).

    Raises:
        MultimodalError: the lists are empty or of different length, or a text has no reference.
    """
    _check(hypotheses, references)
    bleu = BLEU()
    score = bleu.corpus_score(list(hypotheses), _streams(references))
    counts = {
        "hypothesis_length": score.sys_len,
        "reference_length": score.ref_len,
        **{f"matches_{order}": count for order, count in enumerate(score.counts, start=1)},
    }
    return Score(name, float(score.score), counts, bleu.get_signature().format())


def chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
    """chrF2 of sacrebleu, 0 to 100: F-score of character 1- to 6-grams, with sacrebleu's signature (Popović 2015).

    Raises:
        MultimodalError: as `sacre_bleu`.
    """
    _check(hypotheses, references)
    metric = CHRF()
    score = metric.corpus_score(list(hypotheses), _streams(references))
    return Score("chrf", float(score.score), {"samples": len(hypotheses)}, metric.get_signature().format())


def _streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    most = max(len(texts) for texts in references)
    return [[texts[place] if place < len(texts) else None for texts in references] for place in range(most)]


def gleu(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    inputs: Sequence[str],
    generator: np.random.Generator | None = None,
) -> Score:
    """GLEU of corrections, 0 to 1: BLEU less the n-grams kept that should have been changed (Napoles et al. 2015).

    Equal to compute_gleu of github.com/cnap/gec-ranking in its version of 2016, which has no weight to be tuned. With
    several references it is the mean over 500 rounds, each with one reference of each text drawn at random.

    Args:
        hypotheses: corrected texts.
        references: of each, at least one.
        inputs: the texts to be corrected.
        generator: draws the references; seeded with 0 if not given.

    Raises:
        MultimodalError: as `sacre_bleu`.
    """
    _check(hypotheses, references, inputs)
    rows = [
        [gleu_statistics(hypothesis, text, shown) for text in texts]
        for hypothesis, texts, shown in zip(hypotheses, references, inputs, strict=True)
    ]
    several = any(len(row) > 1 for row in rows)
    draw = (generator or np.random.default_rng(0)).random((_GLEU_ROUNDS if several else 1, len(rows)))
    values = []
    for chances in draw:
        chosen = [row[int(chance * len(row))] for row, chance in zip(rows, chances, strict=True)]
        values.append(gleu_value(np.sum(chosen, axis=0)))
    return Score("gleu", float(np.mean(values)), {"samples": len(rows)}, f"gleu:2016|order:4|{_tokeniser_signature()}")


def gleu_statistics(hypothesis: str, reference: str, shown: str) -> list[int]:
    """Lengths of hypothesis and reference, then matches and n-grams of each order."""
    ours, theirs, given = _ngrams(hypothesis), _ngrams(reference), _ngrams(shown)
    row = [ours[0].total(), theirs[0].total()]
    for mine, right, source in zip(ours, theirs, given, strict=True):
        to_change = Counter({ngram: count for ngram, count in source.items() if ngram not in right})
        row += [max(0, (mine & right).total() - (mine & to_change).total()), mine.total()]
    return row


def gleu_value(statistics: np.ndarray) -> float:
    """GLEU of summed `gleu_statistics`."""
    if not statistics.all():
        return 0.0  # as in the reference: no smoothing of a corpus
    length, reference_length, *pairs = (float(value) for value in statistics)
    precision = sum(math.log(pairs[place] / pairs[place + 1]) for place in range(0, len(pairs), 2)) / _ORDERS
    return math.exp(min(0.0, 1 - reference_length / length) + precision)


def sari(hypotheses: Sequence[str], references: Sequence[Sequence[str]], inputs: Sequence[str]) -> Score:
    """SARI of a corpus, 0 to 100: how well n-grams were added, kept and deleted (Xu et al. 2016).

    Equal to `corpus_sari` of EASSE (Alva-Manchego et al. 2019): counts are summed over the corpus, precision and
    recall averaged over the orders, and the score is the mean of three F-scores.

    Args:
        hypotheses: rewritten texts.
        references: of each, at least one.
        inputs: the texts that were rewritten.

    Raises:
        MultimodalError: as `sacre_bleu`.
    """
    _check(hypotheses, references, inputs)
    totals = np.sum(
        [_sari_statistics(*texts) for texts in zip(hypotheses, references, inputs, strict=True)], axis=0
    )  # [operation, order, (right, by the hypothesis, by the references)]
    right, ours, theirs = np.moveaxis(totals, -1, 0)
    precision, recall = _ratio(right, ours).mean(axis=-1), _ratio(right, theirs).mean(axis=-1)
    parts = _ratio(2 * precision * recall, precision + recall)
    counts = {name: 100 * float(part) for name, part in zip(("add", "keep", "delete"), parts, strict=True)}
    signature = f"sari:corpus,easse|order:4|{_tokeniser_signature()}"
    return Score("sari", 100 * float(parts.mean()), counts | {"samples": len(hypotheses)}, signature)


def sari_of_each(hypotheses: Sequence[str], references: Sequence[Sequence[str]], inputs: Sequence[str]) -> list[float]:
    """SARI of every text by itself, 0 to 100, where deletion counts by precision alone, as `sari_sentence` of EASSE.

    Raises:
        MultimodalError: as `sacre_bleu`.
    """
    _check(hypotheses, references, inputs)
    values = []
    for texts in zip(hypotheses, references, inputs, strict=True):
        right, ours, theirs = np.moveaxis(_sari_statistics(*texts), -1, 0)
        precision, recall = _ratio(right, ours), _ratio(right, theirs)
        scores = _ratio(2 * precision * recall, precision + recall)
        scores[2] = precision[2]
        values.append(100 * float(scores.mean()))
    return values


def _sari_statistics(hypothesis: str, references: Sequence[str], shown: str) -> np.ndarray:
    """Counts [3, 4, 3] of add, keep, delete by order: right, done by the hypothesis, done by the references.

    Kept and deleted n-grams are weighted by the number of references that agree; added ones count once.
    """
    weight = len(references)
    table = np.zeros((3, _ORDERS, 3))
    of_references = [_ngrams(text) for text in references]
    for order, (mine, given) in enumerate(zip(_ngrams(hypothesis), _ngrams(shown), strict=True)):
        theirs = Counter[tuple[str, ...]]()
        for counts in of_references:
            theirs += counts[order]
        added, to_add = mine.keys() - given.keys(), theirs.keys() - given.keys()
        ours, shown_often = _times(mine, weight), _times(given, weight)
        kept, to_keep = shown_often & ours, shown_often & theirs
        deleted, to_delete = shown_often - ours, shown_often - theirs
        table[0, order] = len(added & to_add), len(added), len(to_add)
        table[1, order] = (kept & to_keep).total(), kept.total(), to_keep.total()
        table[2, order] = (deleted & to_delete).total(), deleted.total(), to_delete.total()
    return table


def _times(counts: Counter[tuple[str, ...]], factor: int) -> Counter[tuple[str, ...]]:
    return Counter({ngram: count * factor for ngram, count in counts.items()})


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """The quotient, 0 where there is nothing to divide by."""
    quotient: np.ndarray = np.divide(over, under, out=np.zeros_like(over, dtype=float), where=under > 0)
    return quotient


@lru_cache(maxsize=50_000)  # inputs and references come again with every control
def _ngrams(text: str) -> Counts:
    words = _tokeniser()(text).split()
    return [
        Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))
        for order in range(1, _ORDERS + 1)
    ]


@cache
def _tokeniser() -> Tokenizer13a:
    return Tokenizer13a()


def _tokeniser_signature() -> str:
    return f"tok:13a|case:mixed|sacrebleu:{version('sacrebleu')}"


def _check(hypotheses: Sequence[str], references: Sequence[Sequence[str]], inputs: Sequence[str] | None = None) -> None:
    sizes = {len(hypotheses), len(references), len(hypotheses if inputs is None else inputs)}
    if not hypotheses or len(sizes) > 1:
        given = "" if inputs is None else f" and {len(inputs)} inputs"
        raise MultimodalError(f"cannot score {len(hypotheses)} hypotheses against {len(references)} references{given}")
    if not all(references):
        raise MultimodalError("a hypothesis has no reference; leave out samples that have no text")
