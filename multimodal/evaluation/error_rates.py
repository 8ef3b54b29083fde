"""Edit-based scores: WER, CER, MER and WIL as in jiwer, exact match, and how many errors of the input are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version

import jiwer

from multimodal.errors import MultimodalError
from multimodal.evaluation.score import Score


@cache
def _signature(unit: str) -> str:
    return f"jiwer:{version('jiwer')}|unit:{unit}|normaliser:none"


def wer(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Word error rate: substitutions, deletions and insertions over reference words, all summed over the corpus.

    Against an empty reference every word is an insertion, and the rate is their number, as in jiwer.

    Raises:
        MultimodalError: the lists are empty or of different length.
    """
    output = _words(hypotheses, references)
    return Score("wer", float(output.wer), _counts(output, len(hypotheses)), _signature("word"))


def mer(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Match error rate: errors over errors plus hits, 0 to 1 (Morris et al. 2004). Raises as `wer`."""
    output = _words(hypotheses, references)
    return Score("mer", float(output.mer), _counts(output, len(hypotheses)), _signature("word"))


def wil(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Word information lost, 0 to 1 (Morris et al. 2004). Raises as `wer`."""
    output = _words(hypotheses, references)
    return Score("wil", float(output.wil), _counts(output, len(hypotheses)), _signature("word"))


def cer(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Character error rate, as `wer` but in characters, spaces included."""
    output = _characters(hypotheses, references)
    return Score("cer", float(output.cer), _counts(output, len(hypotheses)), _signature("character"))


def cer_improvement(hypotheses: Sequence[str], references: Sequence[str], inputs: Sequence[str]) -> Score:
    """The share of the input's character errors that are gone: 1 - edits(hypothesis) / edits(input), sums over all.

    1 is perfect, 0 is no better than copying the input, below 0 is worse. Inputs without any error count as one.

    Raises:
        MultimodalError: as `wer`.
    """
    left = _edits(_characters(hypotheses, references))
    found = _edits(_characters(inputs, references))
    counts = {"edits_left": left, "edits_in_input": found, "samples": len(hypotheses)}
    return Score("cer_improvement", 1 - left / max(1, found), counts, _signature("character"))


def exact_match(hypotheses: Sequence[str], references: Sequence[Sequence[str]], name: str = "exact_match") -> Score:
    """The share of hypotheses that equal one of their references, white space collapsed and nothing else changed.

    Raises:
        MultimodalError: the lists are empty or of different length.
    """
    _check(len(hypotheses), len(references))
    right = sum(
        collapse(hypothesis) in {collapse(text) for text in texts}
        for hypothesis, texts in zip(hypotheses, references, strict=True)
    )
    return Score(name, right / len(hypotheses), {"right": right, "samples": len(hypotheses)}, "equal|space:collapsed")


def collapse(text: str) -> str:
    """The text with each run of white space as one space and none at the ends."""
    return " ".join(text.split())


def _words(hypotheses: Sequence[str], references: Sequence[str]) -> jiwer.WordOutput:
    _check(len(hypotheses), len(references))
    return jiwer.process_words(list(references), list(hypotheses))


def _characters(hypotheses: Sequence[str], references: Sequence[str]) -> jiwer.CharacterOutput:
    _check(len(hypotheses), len(references))
    return jiwer.process_characters(list(references), list(hypotheses))


def _edits(output: jiwer.CharacterOutput) -> int:
    return int(output.substitutions + output.deletions + output.insertions)


def _counts(output: jiwer.WordOutput | jiwer.CharacterOutput, samples: int) -> Mapping[str, float]:
    names = ("hits", "substitutions", "deletions", "insertions")
    return {name: int(getattr(output, name)) for name in names} | {"samples": samples}


def _check(hypotheses: int, references: int) -> None:
    if not hypotheses or hypotheses != references:
        raise MultimodalError(f"cannot score {hypotheses} hypotheses against {references} references")
