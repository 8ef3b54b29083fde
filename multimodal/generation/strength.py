"""The strength of an edit: between the input and what the model makes of it, as far as is asked.

Starting the sampler from a partly masked input (SDEdit, Meng et al. 2022) is no dial for text: another style is often
longer or shorter, so that what stays on the canvas stands at the wrong place and the rest has no room. The model's own
text is taken apart instead, into the changes that turn the input's words into it. Of these as many are made as the
strength allows, those first of which the model is surest. What is changed at one strength is changed at every higher
one, so the word edit distance to the input never falls as the strength rises; at 0 it is 0, at 1 all is changed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rapidfuzz.distance import Levenshtein

from multimodal.generation.text import Generation
from multimodal.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True)
class _Part:
    """Neighbouring words of the input and those that the model wrote in their place; equal ones are no change."""

    given: range
    written: range
    changed: bool

    @property
    def cost(self) -> int:
        """Word edits."""
        return max(len(self.given), len(self.written)) if self.changed else 0


def soften(given: str, written: Generation, strength: float, tokenizer: TextTokenizer) -> Generation:
    """The given text with a share of the changes that the model made.

    Words that stay the input's have confidence 1, like all given ones; calls, score and confidence are those of the
    whole edit.

    Args:
        given: the input.
        written: what the model wrote.
        strength: 0 to 1. A change is made once half of its words lie within that share of all changed words.
        tokenizer: of the model.
    """
    words, spans = given.split(), written.words
    rewritten = _words(written)
    parts = _parts(words, rewritten)
    made = _within(parts, [min(written.confidences[start:end]) for start, end in spans], strength)
    text: list[str] = []
    tokens: list[str] = []
    confidences: list[float] = []
    for part in parts:
        if part.changed and part not in made:
            kept_words = [words[index] for index in part.given]
            kept = tokenizer.pieces(tokenizer.encode(" ".join(kept_words)))
            text += kept_words
            tokens += kept
            confidences += [1.0] * len(kept)
        else:
            text += [rewritten[index] for index in part.written]
            for start, end in (spans[index] for index in part.written):
                tokens += written.tokens[start:end]
                confidences += written.confidences[start:end]
    return replace(written, text=" ".join(text), tokens=tuple(tokens), confidences=tuple(confidences))


def _words(written: Generation) -> list[str]:
    """One for each of `written.words`; from the text, since a letter of several tokens is whole only there."""
    words = written.text.split(" ")
    if len(words) == len(written.words):
        return words
    return ["".join(written.tokens[start:end]).strip() for start, end in written.words]


def _parts(given: Sequence[str], written: Sequence[str]) -> list[_Part]:
    """The alignment of least word edits, neighbouring edits joined to one change."""
    parts = []
    edits = Levenshtein.opcodes(given, written)
    for changed, group in itertools.groupby(edits, key=lambda edit: edit.tag != "equal"):
        run = list(group)
        first, last = run[0], run[-1]
        parts.append(_Part(range(first.src_start, last.src_end), range(first.dest_start, last.dest_end), changed))
    return parts


def _within(parts: Sequence[_Part], confidences: Sequence[float], strength: float) -> set[_Part]:
    """The changes that a strength allows."""

    def sureness(part: _Part) -> float:
        """Of a change's words; where words were only left out, of those around the place."""
        start, end = part.written.start, part.written.stop
        near = confidences[start:end] or confidences[max(0, start - 1) : end + 1]
        return sum(near) / len(near) if near else 0.0

    changes = sorted((part for part in parts if part.changed), key=lambda part: (-sureness(part), part.given.start))
    total = sum(part.cost for part in changes)
    before = itertools.accumulate((part.cost for part in changes), initial=0)
    return {part for part, done in zip(changes, before, strict=False) if done + part.cost / 2 <= strength * total}
