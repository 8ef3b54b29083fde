"""Whether a text is in the asked style: a classifier of character n-grams, and the scores that use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

from sacrebleu.metrics import CHRF
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from multimodal.evaluation.items import Item
from multimodal.evaluation.score import Score

_MOST_TEXTS = 4000  # enough for character n-grams; keeps the fit under two seconds
_HELD_OUT = 5  # one text in five judges which view tells the styles apart
_CLEARLY = 0.05  # by how much the change must be the better view: the text alone is the stricter judge of a copy


@dataclass(frozen=True, slots=True)
class Rewriting:
    """A text, what it was made from, and the style it is in."""

    source: str
    text: str
    style: str


class _View:
    """A logistic regression over character 1- to 4-grams, of the text or of what changed from its source.

    Args:
        train: rewritings to fit on, of at least two styles.
        of_change: whether the source's n-grams are taken away from the text's.
    """

    def __init__(self, train: Sequence[Rewriting], of_change: bool) -> None:
        self.of_change = of_change
        self._ngrams = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, max_features=50_000)
        self._ngrams.fit([*(row.text for row in train), *(row.source for row in train if of_change)])
        self._model = LogisticRegression(C=10, max_iter=1000)
        features = self._features([row.text for row in train], [row.source for row in train])
        self._model.fit(features, [row.style for row in train])

    def __call__(self, texts: Sequence[str], sources: Sequence[str]) -> list[str]:
        """The style of each text."""
        return [str(style) for style in self._model.predict(self._features(texts, sources))]

    def accuracy(self, rewritings: Sequence[Rewriting]) -> float:
        """The share of rewritings whose style it names."""
        named = self([row.text for row in rewritings], [row.source for row in rewritings])
        return sum(mine == row.style for mine, row in zip(named, rewritings, strict=True)) / max(1, len(rewritings))

    def _features(self, texts: Sequence[str], sources: Sequence[str]) -> Any:
        grams = self._ngrams.transform(texts)
        return grams - self._ngrams.transform(sources) if self.of_change else grams


@dataclass(frozen=True)
class StyleClassifier:
    """Names the style of a text by a logistic regression over character n-grams, fitted on the train split.

    It reads the text alone, as is usual. Some styles cannot be seen there: a sentence of a simpler edition is
    simple only beside the sentence it was made from. So where a fifth of train, held out, is told apart clearly
    better by what changed (n-grams of the text less those of its source), that is read instead.

    Args:
        train: texts with the style they are written in.
    """

    train: Sequence[Rewriting]

    @cached_property
    def _view(self) -> _View | None:
        train = self.train[:_MOST_TEXTS]
        if not _tells(train):
            return None
        return _View(train, _change_is_clearer(train))

    @property
    def can_tell(self) -> bool:
        """Whether train holds at least two styles to tell apart."""
        return self._view is not None

    def __call__(self, items: Sequence[Item], hypotheses: Sequence[str]) -> list[str]:
        """The style of each item's hypothesis. With a single style in train always that one."""
        if self._view is None:
            return [self.train[0].style if self.train else ""] * len(hypotheses)
        return self._view(hypotheses, [item.input for item in items])

    def held_out_accuracy(self, items: Sequence[Item]) -> float:
        """Its accuracy on the items' references, which it was not fitted on: how far its verdicts can be trusted."""
        return self._view.accuracy(_rewritings(items)) if self._view else 1.0

    @property
    def signature(self) -> str:
        """How it was fitted."""
        train = min(len(self.train), _MOST_TEXTS)
        read = "change" if self._view and self._view.of_change else "text"
        return f"{read},char_wb1-4,tfidf,logreg:C10,scikit-learn:{version('scikit-learn')},train:{train}"


def fit_style_classifier(train: Sequence[Item]) -> StyleClassifier:
    """The classifier of the styles that the train items are written in."""
    return StyleClassifier(_rewritings(train))


def style_accuracy(items: Sequence[Item], hypotheses: Sequence[str], classifier: StyleClassifier) -> Score:
    """The share of hypotheses that the classifier takes for the asked style, whatever they say.

    `counts["classifier_held_out"]` is the classifier's own accuracy on these items' references.
    """
    named = classifier(items, hypotheses)
    right = sum(style == item.style for style, item in zip(named, items, strict=True))
    held_out = classifier.held_out_accuracy(items)
    counts = {"right": right, "samples": len(items), "classifier_held_out": held_out}
    return Score("style_accuracy", right / len(items), counts, classifier.signature)


def style_with_content(items: Sequence[Item], hypotheses: Sequence[str], classifier: StyleClassifier) -> Score:
    """Mean over items of chrF against the best reference (0 to 1), counted only where the asked style is named.

    Style alone is easy and content alone is copying; their product per sample follows Krishna et al. (2020).
    """
    chrf = CHRF()
    named = classifier(items, hypotheses)
    total = sum(
        chrf.sentence_score(hypothesis, list(item.references)).score / 100
        for item, hypothesis, style in zip(items, hypotheses, named, strict=True)
        if style == item.style
    )
    signature = f"chrF{chrf.beta},char:{chrf.char_order},sacrebleu:{version('sacrebleu')}|{classifier.signature}"
    return Score("style_with_content", total / len(items), {"samples": len(items)}, signature)


def _rewritings(items: Sequence[Item]) -> list[Rewriting]:
    return [Rewriting(item.input, text, item.style) for item in items for text in item.references]


def _tells(rewritings: Sequence[Rewriting]) -> bool:
    return len({row.style for row in rewritings}) > 1


def _change_is_clearer(train: Sequence[Rewriting]) -> bool:
    """Whether the change from the source names the styles of a held-out fifth clearly better than the text does."""
    held_out = train[::_HELD_OUT]
    fitted = [row for index, row in enumerate(train) if index % _HELD_OUT]
    if not _tells(fitted):
        return False
    text, change = (_View(fitted, of_change).accuracy(held_out) for of_change in (False, True))
    return change > text + _CLEARLY
