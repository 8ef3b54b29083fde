"""The controls beside every score: what can be reached without looking at the input, or without a model.

- constant: one text for all samples, the best of many candidates from train.
- nearest: the text of the train sample whose content is nearest in latent space. Infill has no latents: the words
  of the train text that is nearest in character n-grams.
- shuffled: the same model given the request of another sample. All that a request carries is its condition, so the
  answer is the one that the model gave to that other sample: nothing has to be written twice.
- null: the same model without any condition, see `multimodal.evaluation.writing.write_null`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics import TASK_METRICS
from multimodal.retrieval import unit_rows
from multimodal.sample import Task
from multimodal.tasks import GAP

_JUDGED_ON = 200  # train items that candidates for the constant answer are scored on
_CENTRAL, _FREQUENT = 20, 10  # candidates of each kind
_MOST_TEXTS = 5000


class Pooled(Protocol):
    """What retrieval needs of a latent store."""

    def pooled(self, content_id: str) -> np.ndarray:
        """One vector per content, float32 [p]."""


def constant_answer(train: Sequence[Item]) -> str:
    """The one text that, given for every train item, scores best by the task's first metric.

    Candidates are the empty text and the most frequent and most central train texts (of infill: the most frequent
    fillings); they are judged on the first 200 train items by sample id, fillings on all.
    """
    task = train[0].task
    texts = [text for item in train for text in item.references][:_MOST_TEXTS]
    candidates = ["", *(text for text, _ in Counter(texts).most_common(_FREQUENT))]
    if task is not Task.INFILL:
        candidates += _central(texts)
    judged = train if task is Task.INFILL else train[:_JUDGED_ON]
    metric = TASK_METRICS[task][0]()
    sign = 1 if metric.higher_is_better else -1
    return max(dict.fromkeys(candidates), key=lambda text: sign * metric.score(judged, [text] * len(judged)).value)


def _central(texts: Sequence[str]) -> list[str]:
    """The texts nearest to the mean TF-IDF vector of all."""
    vectors = TfidfVectorizer(token_pattern=r"\S+").fit_transform(texts)
    likeness = np.asarray(vectors @ np.asarray(vectors.mean(axis=0)).T).ravel()
    return [texts[index] for index in np.argsort(-likeness, kind="stable")[:_CENTRAL]]


def nearest_answers(items: Sequence[Item], train: Sequence[Item], store: Pooled | None) -> list[str]:
    """For each item the text of the nearest train item; see the module's docstring.

    Args:
        items: what is evaluated.
        train: all train items of the same task.
        store: latents of the task's modality; not used by infill.
    """
    if items[0].task is Task.INFILL or store is None:
        return _nearest_fillings(items, train)
    pool = list({item.content_id: item for item in reversed(train)}.values())
    known, asked = (unit_rows([store.pooled(item.content_id) for item in part]) for part in (pool, items))
    return [pool[index].references[0] for index in np.argmax(asked @ known.T, axis=1)]


def _nearest_fillings(items: Sequence[Item], train: Sequence[Item]) -> list[str]:
    texts = list(dict.fromkeys(item.text for item in train))[:_MOST_TEXTS]
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), max_features=50_000)
    known = vectorizer.fit_transform(texts)
    asked = vectorizer.transform([item.input.replace(GAP, " ") for item in items])
    nearest = np.asarray((asked @ known.T).argmax(axis=1)).ravel()
    return [words_for_gap(item.input, texts[index]) for item, index in zip(items, nearest, strict=True)]


def words_for_gap(text_with_gap: str, donor: str) -> str:
    """The words of another text that fit a gap: what stands between the words to the gap's left and right there.

    Where the donor lacks the left neighbour, the filling starts as far into the donor as the gap is; where it lacks
    the right neighbour, the filling is one word.
    """
    left, _, right = text_with_gap.partition(GAP)
    before, after, words = left.split(), right.split(), donor.split()
    start = min(len(before), max(0, len(words) - 1))
    if before and before[-1] in words:
        start = words.index(before[-1]) + 1
    end = start + 1
    if not after:
        end = len(words)
    elif after[0] in words[start + 1 :]:
        end = words.index(after[0], start + 1)
    return " ".join(words[start:end])


def derangement(size: int, seed: int = 0) -> list[int]:
    """A permutation that leaves nothing in place: one random cycle through all of `size` >= 2 positions."""
    order = np.random.default_rng(seed).permutation(size)
    moved = np.empty(size, dtype=np.int64)
    moved[order] = np.roll(order, 1)
    return [int(index) for index in moved]
