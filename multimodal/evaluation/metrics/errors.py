"""Metrics by edits: error rates of words and characters, exact matches."""

from __future__ import annotations

from collections.abc import Sequence

from multimodal.evaluation import error_rates
from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics.base import Metric, first_references, inputs_of, references_of
from multimodal.evaluation.normalizers import NormaliserName
from multimodal.evaluation.score import Score


class ErrorRate(Metric):
    """Errors against the first reference, after both texts are normalised.

    Args:
        normaliser: see `normalizers`.
    """

    higher_is_better = False

    def __init__(self, normaliser: NormaliserName = "none") -> None:
        self.normaliser = normaliser


class Wer(ErrorRate):
    """See `error_rates.wer`."""

    name, title = "wer", "WER"
    meaning = "word errors per reference word; lower is better"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Word error rate."""
        return error_rates.wer(hypotheses, first_references(items), self.normaliser)


class Cer(ErrorRate):
    """See `error_rates.cer`."""

    name, title = "cer", "CER"
    meaning = "character errors per reference character; lower is better"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Character error rate."""
        return error_rates.cer(hypotheses, first_references(items), self.normaliser)


class Mer(ErrorRate):
    """See `error_rates.mer`."""

    name, title = "mer", "MER"
    meaning = "word errors per aligned word, 0 to 1; lower is better"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Match error rate."""
        return error_rates.mer(hypotheses, first_references(items), self.normaliser)


class Wil(ErrorRate):
    """See `error_rates.wil`."""

    name, title = "wil", "WIL"
    meaning = "share of the words' information that is lost, 0 to 1; lower is better"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Word information lost."""
        return error_rates.wil(hypotheses, first_references(items), self.normaliser)


class CerImprovement(Metric):
    """See `error_rates.cer_improvement`."""

    name, title = "cer_improvement", "errors removed"
    meaning = "share of the input's character errors that are gone; copying the input gives 0"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Improvement of the character error rate over the input."""
        return error_rates.cer_improvement(hypotheses, first_references(items), inputs_of(items))


class ExactMatch(Metric):
    """See `error_rates.exact_match`."""

    name, title = "exact_match", "exact match"
    meaning = "whole texts without any error"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Share of texts equal to a reference."""
        return error_rates.exact_match(hypotheses, references_of(items))


class InfillAccuracy(Metric):
    """The share of gaps filled with exactly the words that were cut out."""

    name, title = "infill_accuracy", "gap right"
    meaning = "gaps filled with exactly the words that were cut out"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Share of gaps filled as in the reference."""
        return error_rates.exact_match(hypotheses, references_of(items), name=self.name)
