"""Whether a text is in the asked style: a classifier of character n-grams, and the scores that use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version

from sacrebleu.metrics import CHRF
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from multimodal.evaluation.items import Item
from multimodal.evaluation.score import Score

_MOST_TEXTS = 4000  # enough for character n-grams; keeps the fit under two seconds


@dataclass(frozen=True)
class StyleClassifier:
    """A logistic regression over character 1- to 4-grams, fitted on the train split's texts by style.

    Args:
        texts: train texts.
        styles: the style of each.
    """

    texts: Sequence[str]
    styles: Sequence[str]

    @cached_property
    def _model(self) -> Pipeline | None:
        texts, styles = self.texts[:_MOST_TEXTS], self.styles[:_MOST_TEXTS]
        if len(set(styles)) < 2:
            return None
        features = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, max_features=50_000)
        return make_pipeline(features, LogisticRegression(C=10, max_iter=1000)).fit(texts, styles)

    @property
    def can_tell(self) -> bool:
        """Whether train holds at least two styles to tell apart."""
        return self._model is not None

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """The style of each text. With a single style in train there is nothing to tell apart: always that one."""
        if self._model is None:
            return [self.styles[0] if self.styles else ""] * len(texts)
        return [str(style) for style in self._model.predict(list(texts))]

    def accuracy(self, texts: Sequence[str], styles: Sequence[str]) -> float:
        """The share of texts whose style it names; on texts not in train, how far its verdicts can be trusted."""
        named = self(texts)
        return sum(mine == style for mine, style in zip(named, styles, strict=True)) / max(1, len(texts))

    @property
    def signature(self) -> str:
        """How it was fitted."""
        train = min(len(self.texts), _MOST_TEXTS)
        return f"char_wb1-4,tfidf,logreg:C10,scikit-learn:{version('scikit-learn')},train:{train}"


def fit_style_classifier(train: Sequence[Item]) -> StyleClassifier:
    """The classifier of the styles that the train items are written in."""
    pairs = [(text, item.style) for item in train for text in item.references]
    return StyleClassifier([text for text, _ in pairs], [style for _, style in pairs])


def style_accuracy(items: Sequence[Item], hypotheses: Sequence[str], classifier: StyleClassifier) -> Score:
    """The share of hypotheses that the classifier takes for the asked style, whatever they say.

    `counts["classifier_held_out"]` is the classifier's own accuracy on these items' references.
    """
    named = classifier(hypotheses)
    right = sum(style == item.style for style, item in zip(named, items, strict=True))
    counts = {"right": right, "samples": len(items), "classifier_held_out": held_out_accuracy(items, classifier)}
    return Score("style_accuracy", right / len(items), counts, classifier.signature)


def held_out_accuracy(items: Sequence[Item], classifier: StyleClassifier) -> float:
    """The classifier's accuracy on the items' references, which it was not fitted on."""
    pairs = [(text, item.style) for item in items for text in item.references]
    return classifier.accuracy([text for text, _ in pairs], [style for _, style in pairs])


def style_with_content(items: Sequence[Item], hypotheses: Sequence[str], classifier: StyleClassifier) -> Score:
    """Mean over items of chrF against the best reference (0 to 1), counted only where the asked style is named.

    Style alone is easy and content alone is copying; their product per sample follows Krishna et al. (2020).
    """
    chrf = CHRF()
    named = classifier(hypotheses)
    total = sum(
        chrf.sentence_score(hypothesis, list(item.references)).score / 100
        for item, hypothesis, style in zip(items, hypotheses, named, strict=True)
        if style == item.style
    )
    signature = f"chrF{chrf.beta},char:{chrf.char_order},sacrebleu:{version('sacrebleu')}|{classifier.signature}"
    return Score("style_with_content", total / len(items), {"samples": len(items)}, signature)
