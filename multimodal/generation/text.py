"""What a generator is asked for and what it answers."""

from __future__ import annotations

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
        style: restyle: the target style.
        constraints: what the text must be like; None: nothing.
        pooled: CLIP embedding [d] of the picture, for candidates that are chosen by it; None: unknown.
    """

    request_id: str
    task: Task
    hidden_states: np.ndarray | None = None
    text: str = ""
    style: str = ""
    constraints: Constraints | None = None
    pooled: np.ndarray | None = None


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
