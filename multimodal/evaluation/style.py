"""Whether a text is in the asked style: a classifier of character n-grams, and the scores that trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
from sacrebleu.metrics import CHRF
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from multimodal.evaluation.items import Item
from multimodal.evaluation.score import Score

_MOST_TEXTS = 4000  # enough for character n-grams; keeps the fit under two seconds
_HELD_OUT = 5  # one text in five judges which view tells the styles apart
_CLEARLY = 0.05  # by how much the change must be the better view: the text alone asks for nothing but the text
_STRANGEST, _SLACK = 0.01, 0.8  # unseen words make an unseen rewriting a little less like its source

NO_STYLE = ""
"""Verdict on a text that is no rewriting of its source, where the style is read from what was rewritten."""


@dataclass(frozen=True, slots=True)
class Rewriting:
    """A text, what it was made from, and the style it is in."""

    source: str
    text: str
    style: str


class _TextView:
    """A logistic regression over character 1- to 4-grams of the text.

    Args:
        train: rewritings to fit on, of at least two styles.
    """

    name = "text"

    def __init__(self, train: Sequence[Rewriting]) -> None:
        self._ngrams = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, max_features=50_000)
        self._ngrams.fit(self._read_by(train))
        self._model = LogisticRegression(C=10, max_iter=1000)
        self._model.fit(self._features(train), [row.style for row in train])

    def __call__(self, rewritings: Sequence[Rewriting]) -> list[str]:
        """The style of each, whatever style it says it is in."""
        return [str(style) for style in self._model.predict(self._features(rewritings))]

    def accuracy(self, rewritings: Sequence[Rewriting]) -> float:
        """The share of rewritings whose style it names."""
        named = self(rewritings)
        return sum(mine == row.style for mine, row in zip(named, rewritings, strict=True)) / max(1, len(rewritings))

    def _read_by(self, train: Sequence[Rewriting]) -> list[str]:
        return [row.text for row in train]

    def _features(self, rewritings: Sequence[Rewriting]) -> Any:
        return self._ngrams.transform([row.text for row in rewritings])


class _ChangeView(_TextView):
    """The same over the n-grams of the text less those of its source.

    It was fitted on rewritings, and what it says of anything else means nothing: taking all hard words of a sentence
    away makes it easier, even if a sentence about something else comes in its place. So a text that is less like its
    source (cosine of n-grams) than four fifths of what all but a hundredth of train's rewritings are, or that changes
    nothing where they all change something, has no style.
    """

    name = "change"

    def __init__(self, train: Sequence[Rewriting]) -> None:
        super().__init__(train)
        self._least_alike = _SLACK * float(np.quantile(self._likeness(train), _STRANGEST))
        self._copies_count = any(row.text == row.source for row in train)

    def __call__(self, rewritings: Sequence[Rewriting]) -> list[str]:
        """The style of each, whatever style it says it is in; `NO_STYLE` of what is no rewriting."""
        named, alike = super().__call__(rewritings), self._likeness(rewritings) >= self._least_alike
        changed = [self._copies_count or row.text != row.source for row in rewritings]
        return [
            style if is_like and has_changed else NO_STYLE
            for style, is_like, has_changed in zip(named, alike, changed, strict=True)
        ]

    def _read_by(self, train: Sequence[Rewriting]) -> list[str]:
        return [text for row in train for text in (row.text, row.source)]

    def _features(self, rewritings: Sequence[Rewriting]) -> Any:
        return super()._features(rewritings) - self._of_sources(rewritings)

    def _likeness(self, rewritings: Sequence[Rewriting]) -> np.ndarray:
        """Cosine of each text and its source, float64 [rewritings]."""
        together = super()._features(rewritings).multiply(self._of_sources(rewritings))
        return np.asarray(together.sum(axis=1)).ravel()

    def _of_sources(self, rewritings: Sequence[Rewriting]) -> Any:
        return self._ngrams.transform([row.source for row in rewritings])


@dataclass(frozen=True)
class StyleClassifier:
    """Names the style of a text by a logistic regression over character n-grams, fitted on the train split.

    It reads the text alone, as is usual. Some styles cannot be seen there: a sentence of a simpler edition is
    simple only beside the sentence it was made from. So where a fifth of train, held out, is told apart clearly
    better by what changed (n-grams of the text less those of its source), that is read instead; a text that is no
    rewriting of its source then has no style.

    Args:
        train: texts with the style they are written in.
    """

    train: Sequence[Rewriting]

    @cached_property
    def _view(self) -> _TextView | None:
        train = self.train[:_MOST_TEXTS]
        if not _tells(train):
            return None
        return _ChangeView(train) if _change_is_clearer(train) else _TextView(train)

    @property
    def can_tell(self) -> bool:
        """Whether train holds at least two styles to tell apart."""
        return self._view is not None

    def __call__(self, items: Sequence[Item], hypotheses: Sequence[str]) -> list[str]:
        """The style of each item's hypothesis. With a single style in train always that one."""
        if self._view is None:
            return [self.train[0].style if self.train else ""] * len(hypotheses)
        return self._view([Rewriting(item.input, text, "") for item, text in zip(items, hypotheses, strict=True)])

    def held_out_accuracy(self, items: Sequence[Item]) -> float:
        """Its accuracy on the items' references, which it was not fitted on: how far its verdicts can be trusted."""
        return self._view.accuracy(_rewritings(items)) if self._view else 1.0

    @property
    def signature(self) -> str:
        """How it was fitted."""
        train = min(len(self.train), _MOST_TEXTS)
        read = self._view or _TextView
        return f"{read.name},char_wb1-4,tfidf,logreg:C10,scikit-learn:{version('scikit-learn')},train:{train}"


def fit_style_classifier(train: Sequence[Item]) -> StyleClassifier:
    """The classifier of the styles that the train items are written in."""
    return StyleClassifier(_rewritings(train))


def style_accuracy(items: Sequence[Item], hypotheses: Sequence[str], classifier: StyleClassifier) -> Score:
    """The share of hypotheses that the classifier takes for the asked style, whatever they say.

    `counts["classifier_held_out"]` is the classifier's own accuracy on these items' references, and
    `counts["no_style"]` how many hypotheses it took for no rewriting of their input.
    """
    named = classifier(items, hypotheses)
    right = sum(style == item.style for style, item in zip(named, items, strict=True))
    held_out = classifier.held_out_accuracy(items)
    counts = {
        "right": right,
        "samples": len(items),
        "no_style": named.count(NO_STYLE),
        "classifier_held_out": held_out,
    }
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
    return _ChangeView(fitted).accuracy(held_out) > _TextView(fitted).accuracy(held_out) + _CLEARLY
