"""What a generator is asked for and what it answers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from multimodal.generation.constraints import Constraints
from multimodal.sample import Task


@dataclass(frozen=True, slots=True)
class Request:
    """One text to be written.

    Args:
        request_id: with the seed, all that a drawn text depends on.
        task: what to write.
        hidden_states: conditioning latents [n, d] of the task's modality; None for infill, or for the null condition.
        text: infill: the text with gaps `___`; else a draft to be edited, for decoders that read drafts: the input of
            denoise and restyle, what the encoder itself reads off a clip for transcribe.
        style: the style to write in, one of those that the task was trained with; "" for none.
        constraints: what the text must be like; None: nothing.
        hint: a text that says what to expect, for decoders that read hints.
        picture: latents [n, d] of a picture beside the task's own content, for decoders that read pictures.
        pooled: one vector [p] of the whole content: decoders that remember captions find a draft by it, and candidates
            may be chosen by it; None: unknown.
    """

    request_id: str
    task: Task
    hidden_states: np.ndarray | None = None
    text: str = ""
    style: str = ""
    constraints: Constraints | None = None
    hint: str = ""
    picture: np.ndarray | None = None
    pooled: np.ndarray | None = None

    @property
    def further(self) -> tuple[str, ...]:
        """Which further inputs it has."""
        return (("hint",) if self.hint else ()) + (("picture",) if self.picture is not None else ())


@dataclass(frozen=True, slots=True)
class Generation:
    """One written text.

    Args:
        request_id: of the request.
        text: the text; for infill the whole text with its gaps filled.
        tokens: the text's tokens, as text; a word's first token begins with a space.
        confidences: how likely each token is right, by its probability when it was unmasked; 1 for given tokens.
        nfe: calls of the denoiser.
        score: geometric mean of the probabilities of the written tokens, padding included, 0 to 1.
        trajectory: the canvas before the first and after each step, as token texts; empty unless asked for.
        filled: infill: the text of each gap.
        confidence: the share of the text's words that is expected to be right, 0 to 1; `score` where the model was not
            calibrated.
        trusted: the confidence reaches the model's threshold of trust.
    """

    request_id: str
    text: str
    tokens: tuple[str, ...]
    confidences: tuple[float, ...]
    nfe: int
    score: float
    trajectory: tuple[tuple[str, ...], ...] = ()
    filled: tuple[str, ...] = ()
    confidence: float = 1.0
    trusted: bool = True

    @property
    def words(self) -> list[tuple[int, int]]:
        """(start, end) of each word in `tokens`."""
        starts = [index for index, token in enumerate(self.tokens) if index == 0 or token.startswith(" ")]
        return list(itertools.pairwise([*starts, len(self.tokens)])) if starts else []
