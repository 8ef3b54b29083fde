"""What each sample adds to a metric: rows of numbers whose sums over any samples give the metric there.

A mean is a sum over a count, an error rate is errors over words, corpus BLEU comes from ten sums. With the rows at hand
a bootstrap resample costs one product instead of one scoring, and two models can be compared sample by sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics import BLEU, CHRF

from multimodal.evaluation import captions, text_scores
from multimodal.evaluation.error_rates import Unit, error_counts_of_each
from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics import Metric, StyleMetric
from multimodal.evaluation.normalizers import NormaliserName
from multimodal.evaluation.statistics import FloatArray

Combine = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Sufficient:
    """Sufficient statistics of a metric, one row per sample.

    Args:
        rows: float64 [n, k].
        combine: sums of rows over some samples, [..., k], to the metric on them, [...].
    """

    rows: FloatArray
    combine: Combine

    @property
    def value(self) -> float:
        """The metric on all samples."""
        return float(self.combine(self.rows.sum(axis=0)))

    def value_of(self, indices: Sequence[int]) -> float:
        """The metric on some samples."""
        return float(self.combine(self.rows[indices].sum(axis=0)))

    def resampled(self, counts: FloatArray) -> FloatArray:
        """The metric on resamples: how often each sample was drawn, [resamples, n] -> [resamples]."""
        return self.combine(counts @ self.rows)

    def of_each(self) -> FloatArray:
        """Each sample's part in the metric, [n]: the jackknife's pseudo-values (Tukey 1958).

        Their mean is the metric, up to terms of order 1 / n for a metric that is neither a mean nor a ratio.
        """
        size = len(self.rows)
        if size == 1:
            return np.array([self.value])
        left_out = self.combine(self.rows.sum(axis=0) - self.rows)
        return size * self.value - (size - 1) * left_out


@dataclass(frozen=True)
class Ratio(Sufficient):
    """Sums of numerators over sums of denominators; `rows` are [n, 2]."""

    def of_each(self) -> FloatArray:
        """Each sample's numerator over the mean denominator: of a mean the sample's own value."""
        return self.rows[:, 0] / max(1e-12, float(self.rows[:, 1].mean()))


def sufficient(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Sufficient | None:
    """The statistics of a metric of one hypothesis per item; None for a metric that no sums give (diversity, say)."""
    make = _MAKERS.get(metric.name)
    return make(metric, items, hypotheses) if make else None


def ratio(numerators: npt.ArrayLike, denominators: npt.ArrayLike) -> Ratio:
    """A ratio of sums; where the denominators sum to 0, the sum of the numerators, as jiwer counts insertions."""
    rows = np.stack([np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)], axis=1)
    return Ratio(rows, lambda sums: sums[..., 0] / np.maximum(sums[..., 1], 1))


def mean(values: npt.ArrayLike) -> Ratio:
    """A mean over samples."""
    values = np.asarray(values, np.float64)
    return ratio(values, np.ones(len(values)))


def _of_items_alone(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Ratio:
    pairs = zip(items, hypotheses, strict=True)
    return mean([metric.score([item], [hypothesis]).value for item, hypothesis in pairs])


def _of_scenes(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Ratio:
    described = [float(item.scene is not None) for item in items]
    return ratio(_of_items_alone(metric, items, hypotheses).rows[:, 0] * described, described)


def _error_counts(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str], unit: Unit) -> FloatArray:
    normaliser: NormaliserName = getattr(metric, "normaliser", "none")
    counts = error_counts_of_each(hypotheses, [item.references[0] for item in items], unit, normaliser)
    return counts.astype(np.float64)


def _error_rate(unit: Unit) -> Callable[[Metric, Sequence[Item], Sequence[str]], Ratio]:
    def make(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Ratio:
        counts = _error_counts(metric, items, hypotheses, unit)
        return ratio(counts[:, 1:].sum(axis=1), counts[:, :3].sum(axis=1))

    return make


def _match_error_rate(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Ratio:
    counts = _error_counts(metric, items, hypotheses, "word")
    return ratio(counts[:, 1:].sum(axis=1), counts.sum(axis=1))


def _word_information_lost(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Sufficient:
    def combine(sums: FloatArray) -> FloatArray:
        hits, substitutions, deletions, insertions = np.moveaxis(sums, -1, 0)
        said, written = hits + substitutions + deletions, hits + substitutions + insertions
        lost: FloatArray = 1 - hits / np.maximum(said, 1) * hits / np.maximum(written, 1)
        return lost

    return Sufficient(_error_counts(metric, items, hypotheses, "word"), combine)


def _errors_removed(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Ratio:
    left = _error_counts(metric, items, hypotheses, "character")[:, 1:].sum(axis=1)
    found = _error_counts(metric, items, [item.input for item in items], "character")[:, 1:].sum(axis=1)
    return ratio(found - left, found)


def _cider_d(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Ratio:
    return mean(captions.cider_d_of_each(hypotheses, [item.references for item in items]))


def _rouge_l(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Ratio:
    return mean(captions.rouge_l_of_each(hypotheses, [item.references for item in items]))


def _coco_bleu(order: int) -> Callable[[Metric, Sequence[Item], Sequence[str]], Sufficient]:
    def make(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Sufficient:
        rows = captions.bleu_statistics(hypotheses, [item.references for item in items])
        return Sufficient(rows, lambda sums: captions.bleu_from_statistics(sums[..., None, :])[..., order - 1])

    return make


def _restyle_bleu(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Sufficient:
    bleu, rows = BLEU(), []
    for item, hypothesis in zip(items, hypotheses, strict=True):
        score = bleu.corpus_score([hypothesis], [[reference] for reference in item.references])
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])

    def of_sums(sums: FloatArray) -> float:
        *counts, written, asked = (round(number) for number in sums)
        return float(bleu.compute_bleu(counts[:4], counts[4:], written, asked, bleu.smooth_method).score)

    return _one_by_one(rows, of_sums)


def _chrf(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Sufficient:
    chrf = CHRF()  # its scores do not hold their counts; sacrebleu's own bootstrap takes them from here too
    pairs = zip(items, hypotheses, strict=True)
    rows = [
        chrf._extract_corpus_statistics([hypothesis], [[text] for text in item.references])[0]
        for item, hypothesis in pairs
    ]
    return _one_by_one(rows, lambda sums: chrf._aggregate_and_compute([[round(number) for number in sums]]).score)


def _gleu(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Sufficient | None:
    if any(len(item.references) > 1 for item in items):
        return None  # the score is then a mean over rounds of drawn references
    pairs = zip(items, hypotheses, strict=True)
    rows = [text_scores.gleu_statistics(hypothesis, item.references[0], item.input) for item, hypothesis in pairs]
    return _one_by_one(rows, text_scores.gleu_value)


def _one_by_one(rows: npt.ArrayLike, of_sums: Callable[[FloatArray], float]) -> Sufficient:
    """Statistics of a metric whose formula takes the sums of one set of samples at a time."""
    return Sufficient(np.asarray(rows, np.float64), lambda sums: np.apply_along_axis(of_sums, -1, sums))


def _style_accuracy(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Ratio:
    return mean(_in_asked_style(metric, items, hypotheses))


def _style_with_content(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Ratio:
    chrf, styled = CHRF(), _in_asked_style(metric, items, hypotheses)
    return mean(
        [
            chrf.sentence_score(hypothesis, list(item.references)).score / 100 if right else 0.0
            for item, hypothesis, right in zip(items, hypotheses, styled, strict=True)
        ]
    )


def _in_asked_style(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> list[bool]:
    assert isinstance(metric, StyleMetric)
    return [style == item.style for style, item in zip(metric.classifier(items, hypotheses), items, strict=True)]


_MAKERS: dict[str, Callable[[Metric, Sequence[Item], Sequence[str]], Sufficient | None]] = {
    "cider_d": _cider_d,
    "rouge_l": _rouge_l,
    **{f"bleu_{order}": _coco_bleu(order) for order in range(1, 5)},
    **{f"scene_{aspect}": _of_scenes for aspect in ("exact", "objects", "colours", "relations", "sizes")},
    "wer": _error_rate("word"),
    "cer": _error_rate("character"),
    "mer": _match_error_rate,
    "wil": _word_information_lost,
    "cer_improvement": _errors_removed,
    "exact_match": _of_items_alone,
    "infill_accuracy": _of_items_alone,
    "gleu": _gleu,
    "restyle_bleu": _restyle_bleu,
    "chrf": _chrf,
    "copy_rate": _of_items_alone,
    "style_accuracy": _style_accuracy,
    "style_with_content": _style_with_content,
}
