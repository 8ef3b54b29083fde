"""Metrics of texts made from texts: corrections and other styles."""

from __future__ import annotations

from collections.abc import Sequence

from multimodal.evaluation import style, text_scores
from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics.base import Metric, inputs_of, references_of
from multimodal.evaluation.score import Score


class Gleu(Metric):
    """See `text_scores.gleu`."""

    name, title, percent = "gleu", "GLEU", False
    meaning = "BLEU less what should have been changed and was not, 0 to 1"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """GLEU of corrections."""
        return text_scores.gleu(hypotheses, references_of(items), inputs_of(items))


class OfHundred(Metric):
    """A metric from 0 to 100."""

    percent = False

    @classmethod
    def shown(cls, value: float) -> str:
        """The value with one digit, as is usual."""
        return f"{value:.1f}"


class RestyleBleu(OfHundred):
    """See `text_scores.sacre_bleu`."""

    name, title = "restyle_bleu", "BLEU"
    meaning = "matching runs of words with the reference in the asked style, 0 to 100"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """BLEU of sacrebleu."""
        return text_scores.sacre_bleu(hypotheses, references_of(items), self.name)


class Chrf(OfHundred):
    """See `text_scores.chrf`."""

    name, title = "chrf", "chrF"
    meaning = "matching runs of characters with the reference in the asked style, 0 to 100"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """chrF of sacrebleu."""
        return text_scores.chrf(hypotheses, references_of(items))


class Sari(OfHundred):
    """See `text_scores.sari`."""

    name, title, must_beat = "sari", "SARI", ()
    meaning = "words rightly added, kept and deleted, 0 to 100"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """SARI of the corpus."""
        return text_scores.sari(hypotheses, references_of(items), inputs_of(items))


class StyleMetric(Metric):
    """A metric that asks a classifier for the style of a text."""

    def __init__(self, classifier: style.StyleClassifier) -> None:
        self.classifier = classifier


class StyleAccuracy(StyleMetric):
    """See `style.style_accuracy`.

    Nearest neighbours are no control of it: a text retrieved from train is in some pure style, usually the asked one.
    """

    name, title = "style_accuracy", "style right"
    meaning = "taken for the asked style by a classifier, whatever it says"
    must_beat = ("constant", "shuffled")

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Share of texts in the asked style."""
        return style.style_accuracy(items, hypotheses, self.classifier)


class StyleWithContent(StyleMetric):
    """See `style.style_with_content`."""

    name, title = "style_with_content", "style and content"
    meaning = "chrF with the reference, counted only where the style is the asked one"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Mean chrF of the texts in the asked style, 0 for the others."""
        return style.style_with_content(items, hypotheses, self.classifier)
