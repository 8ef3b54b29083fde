"""Edit-based scores: WER, CER, MER and WIL with jiwer's values, exact match, and the share of the input's errors gone.

Alignments are rapidfuzz's, the ones that jiwer counts too; jiwer itself is left out, since its transforms and its
records of every aligned chunk take several times as long as the alignment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from itertools import zip_longest
from typing import Literal

import numpy as np
from rapidfuzz.distance import Levenshtein

from multimodal.errors import MultimodalError
from multimodal.evaluation.normalizers import NormaliserName, is_scored, normaliser_of, normaliser_signature
from multimodal.evaluation.score import Score

Unit = Literal["word", "character"]
Aligned = tuple[str, str | None, str | None]

_SPACES = re.compile(r"\s\s+")
_COUNTS = ("hits", "substitutions", "deletions", "insertions")


def words_of(text: str) -> list[str]:
    """The words that jiwer counts: split at spaces, runs of white space taken as one; a lone tab joins words there."""
    if text.isprintable():  # the space is the only white space that is printable
        return text.split()
    return [word for word in _SPACES.sub(" ", text).strip().split(" ") if word]


def error_counts_of_each(
    hypotheses: Sequence[str],
    references: Sequence[str],
    unit: Unit = "word",
    normaliser: NormaliserName = "none",
) -> np.ndarray:
    """Hits, substitutions, deletions and insertions of every pair: int64 [n, 4].

    Samples that the normaliser leaves out (see `normalizers.is_scored`) have zeros.

    Raises:
        MultimodalError: the lists are empty or of different length, or there is no such normaliser.
    """
    _check(len(hypotheses), len(references))
    return _counts_of_each(tuple(hypotheses), tuple(references), unit, normaliser).copy()


@lru_cache(maxsize=16)  # WER, MER and WIL of the same texts are made from the same counts
def _counts_of_each(
    hypotheses: tuple[str, ...], references: tuple[str, ...], unit: Unit, normaliser: NormaliserName
) -> np.ndarray:
    normal = normaliser_of(normaliser)
    rows = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        if normaliser != "none":
            if not is_scored(normaliser, reference):
                rows.append((0, 0, 0, 0))
                continue
            hypothesis, reference = normal(hypothesis), normal(reference)
        if unit == "word":
            rows.append(_errors(words_of(reference), words_of(hypothesis)))
        else:
            rows.append(_errors(reference.strip(), hypothesis.strip()))
    return np.array(rows, dtype=np.int64)


def _errors(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int, int, int]:
    """Hits, substitutions, deletions, insertions; what is known without an alignment is taken from the lengths."""
    size, longer = len(reference), len(hypothesis) - len(reference)
    if reference == hypothesis:
        return size, 0, 0, 0
    edits = Levenshtein.editops(reference, hypothesis)
    distance = len(edits)
    # where all edits go one way there is nothing to count
    one_way = distance == abs(longer)
    insertions = max(0, longer) if one_way else sum(edit.tag == "insert" for edit in edits)
    deletions = insertions - longer
    substitutions = distance - insertions - deletions
    return size - substitutions - deletions, substitutions, deletions, insertions


def word_alignment(hypothesis: str, reference: str, normaliser: NormaliserName = "none") -> list[Aligned]:
    """Which word of the reference became which of the hypothesis, in order.

    Each entry is (operation, reference word, hypothesis word); the operation is `equal`, `replace`, `delete` (no
    hypothesis word) or `insert` (no reference word), as in rapidfuzz and jiwer.
    """
    normal = normaliser_of(normaliser)
    theirs, ours = words_of(normal(reference)), words_of(normal(hypothesis))
    aligned: list[Aligned] = []
    for edit in Levenshtein.opcodes(theirs, ours):
        pairs = zip_longest(theirs[edit.src_start : edit.src_end], ours[edit.dest_start : edit.dest_end])
        aligned += [(edit.tag, *pair) for pair in pairs]
    return aligned


def wer(hypotheses: Sequence[str], references: Sequence[str], normaliser: NormaliserName = "none") -> Score:
    """Word error rate: substitutions, deletions and insertions over reference words, all summed over the corpus.

    Where the references hold no word at all, the rate is the number of insertions, as in jiwer.

    Raises:
        MultimodalError: as `error_counts_of_each`.
    """
    counts = error_counts_of_each(hypotheses, references, "word", normaliser)
    return Score("wer", _error_rate(counts), _totals(counts), _signature("word", normaliser))


def mer(hypotheses: Sequence[str], references: Sequence[str], normaliser: NormaliserName = "none") -> Score:
    """Match error rate: errors over errors plus hits, 0 to 1 (Morris et al. 2004). Raises as `wer`."""
    counts = error_counts_of_each(hypotheses, references, "word", normaliser)
    hits, *errors = (int(total) for total in counts.sum(axis=0))
    value = sum(errors) / max(1, hits + sum(errors))
    return Score("mer", value, _totals(counts), _signature("word", normaliser))


def wil(hypotheses: Sequence[str], references: Sequence[str], normaliser: NormaliserName = "none") -> Score:
    """Word information lost: 1 - hits^2 / (reference words x hypothesis words), 0 to 1 (Morris et al. 2004).

    Raises:
        MultimodalError: as `error_counts_of_each`.
    """
    counts = error_counts_of_each(hypotheses, references, "word", normaliser)
    hits, substitutions, deletions, insertions = (int(total) for total in counts.sum(axis=0))
    theirs, ours = hits + substitutions + deletions, hits + substitutions + insertions
    kept = hits**2 / (theirs * ours) if theirs and ours else float(theirs == ours)
    return Score("wil", 1 - kept, _totals(counts), _signature("word", normaliser))


def cer(hypotheses: Sequence[str], references: Sequence[str], normaliser: NormaliserName = "none") -> Score:
    """Character error rate, as `wer` but in characters, spaces included."""
    counts = error_counts_of_each(hypotheses, references, "character", normaliser)
    return Score("cer", _error_rate(counts), _totals(counts), _signature("character", normaliser))


def cer_improvement(hypotheses: Sequence[str], references: Sequence[str], inputs: Sequence[str]) -> Score:
    """The share of the input's character errors that are gone: 1 - edits(hypothesis) / edits(input), sums over all.

    1 is perfect, 0 is no better than copying the input, below 0 is worse. Inputs without any error count as one.

    Raises:
        MultimodalError: as `wer`.
    """
    left = int(error_counts_of_each(hypotheses, references, "character")[:, 1:].sum())
    found = int(error_counts_of_each(inputs, references, "character")[:, 1:].sum())
    counts = {"edits_left": left, "edits_in_input": found, "samples": len(hypotheses)}
    return Score("cer_improvement", 1 - left / max(1, found), counts, _signature("character", "none"))


def exact_match(hypotheses: Sequence[str], references: Sequence[Sequence[str]], name: str = "exact_match") -> Score:
    """The share of hypotheses that equal one of their references, white space collapsed and nothing else changed.

    Raises:
        MultimodalError: the lists are empty or of different length.
    """
    _check(len(hypotheses), len(references))
    right = sum(is_match(*pair) for pair in zip(hypotheses, references, strict=True))
    return Score(name, right / len(hypotheses), {"right": right, "samples": len(hypotheses)}, "equal|space:collapsed")


def is_match(hypothesis: str, references: Sequence[str]) -> bool:
    """Whether a hypothesis equals one of its references, white space collapsed."""
    return collapse(hypothesis) in {collapse(text) for text in references}


def collapse(text: str) -> str:
    """The text with each run of white space as one space and none at the ends."""
    return " ".join(text.split())


def _error_rate(counts: np.ndarray) -> float:
    hits, substitutions, deletions, insertions = (int(total) for total in counts.sum(axis=0))
    in_references = hits + substitutions + deletions
    return (substitutions + deletions + insertions) / in_references if in_references else float(insertions)


def _totals(counts: np.ndarray) -> dict[str, float]:
    totals: dict[str, float] = {name: int(total) for name, total in zip(_COUNTS, counts.sum(axis=0), strict=True)}
    return totals | {"samples": len(counts)}


@cache
def _signature(unit: Unit, normaliser: NormaliserName) -> str:
    return f"jiwer-equal|rapidfuzz:{version('rapidfuzz')}|unit:{unit}|normaliser:{normaliser_signature(normaliser)}"


def _check(hypotheses: int, references: int) -> None:
    if not hypotheses or hypotheses != references:
        raise MultimodalError(f"cannot score {hypotheses} hypotheses against {references} references")
