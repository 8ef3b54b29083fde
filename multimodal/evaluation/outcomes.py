"""Which words of a text came out right, beside what the model said of them."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from multimodal.evaluation.items import Item
from multimodal.generation import Generation
from multimodal.sample import Task


@dataclass(frozen=True, slots=True)
class Outcome:
    """One text held against its references.

    Args:
        confidences: of each written word, that of its least certain token, 0 to 1.
        right: whether each written word stands in the alignment with the nearest reference.
        share: right words over written and missing ones, 0 to 1.
    """

    confidences: tuple[float, ...]
    right: tuple[bool, ...]
    share: float


def judge(item: Item, generation: Generation) -> Outcome:
    """Align a text with its nearest reference, word by word; of infill only what was written into the gaps.

    Words are compared without case and without punctuation at their ends.
    """
    words = written_words(generation, only_gaps=item.task is Task.INFILL)
    plain = [_plain(word) for word, _ in words]
    return max((_aligned(words, plain, reference) for reference in item.references), key=lambda found: found.share)


def right_share(hypothesis: str, references: Sequence[str]) -> float:
    """Right words over written and missing ones, 0 to 1, of the nearest reference."""
    words = [(word, 1.0) for word in hypothesis.split()]
    plain = [_plain(word) for word, _ in words]
    return max(_aligned(words, plain, reference).share for reference in references)


def written_words(generation: Generation, only_gaps: bool = False) -> list[tuple[str, float]]:
    """Words of a text, each with the confidence of its least certain token.

    Args:
        generation: the text.
        only_gaps: leave out words of which every token was given.
    """
    words = [
        ("".join(generation.tokens[start:end]).strip(), min(generation.confidences[start:end]))
        for start, end in generation.words
    ]
    return [(word, confidence) for word, confidence in words if not only_gaps or confidence < 1]


def _aligned(words: Sequence[tuple[str, float]], plain: Sequence[str], reference: str) -> Outcome:
    wanted = [_plain(word) for word in reference.split()]
    right, missing = [False] * len(words), 0
    for edit in Levenshtein.opcodes(plain, wanted):
        written = edit.src_end - edit.src_start
        if edit.tag == "equal":
            right[edit.src_start : edit.src_end] = [True] * written
        missing += max(0, edit.dest_end - edit.dest_start - written)
    total = len(words) + missing
    confidences = tuple(confidence for _, confidence in words)
    return Outcome(confidences, tuple(right), sum(right) / total if total else 1.0)


def _plain(word: str) -> str:
    return word.lower().strip(string.punctuation) or word
