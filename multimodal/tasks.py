"""What each task starts from: its canvas and, for infilling, its gaps.

All tasks but infill start from a canvas of masks and read their condition by cross-attention. Infill reads its
condition on the canvas itself: the given words stand, each gap is a run of `GAP_SLOTS` masks of which those that
the filling does not need become padding, so that nobody has to know a gap's length.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal.errors import RequestError
from multimodal.sample import Task
from multimodal.tokenizer import TextTokenizer

GAP = "___"
"""Marks a gap in the text of an infill request."""

GAP_SLOTS = 10
"""Canvas positions of one gap: the longest filling in tokens."""

LENGTH_BUCKET = 16
"""Texts with gaps are padded to multiples of this many tokens: few lengths, and none that depends on a batch."""

MAX_GAP_WORDS = 4

EDITING = (Task.DENOISE, Task.RESTYLE)
"""Tasks whose input is the text that is to be edited. The draft of others is what their encoder reads by itself."""


@dataclass(frozen=True, slots=True)
class Gapped:
    """A text with one gap, and what was cut out of it."""

    text_with_gap: str
    span: str


@dataclass(frozen=True, slots=True)
class Canvas:
    """Token ids that a sampler starts from or a loss compares with.

    Args:
        tokens: ids; masks are what is to be written.
        gaps: (start, end) of each gap in `tokens`; empty where the whole canvas is open.
    """

    tokens: tuple[int, ...]
    gaps: tuple[tuple[int, int], ...] = ()


def make_gap(text: str, sample_id: str) -> Gapped:
    """Cut one to four neighbouring words out of a text: always the same ones for the same sample.

    A text of one word loses that word.
    """
    rng = random.Random(hashlib.sha256(sample_id.encode()).digest())
    words = text.split()
    start, end = draw_span(len(words), rng)
    return Gapped(" ".join([*words[:start], GAP, *words[end:]]), " ".join(words[start:end]))


def draw_span(num_words: int, rng: random.Random) -> tuple[int, int]:
    """Start and end of a gap: at most `MAX_GAP_WORDS` words and at most half of the text."""
    length = rng.randint(1, max(1, min(MAX_GAP_WORDS, num_words // 2)))
    start = rng.randint(0, max(0, num_words - length))
    return start, min(start + length, num_words)


def blank_canvas(tokenizer: TextTokenizer, length: int) -> Canvas:
    """All masks."""
    return Canvas((tokenizer.mask_token_id,) * length)


def infill_canvas(tokenizer: TextTokenizer, text_with_gaps: str, fillings: Sequence[str] | None = None) -> Canvas:
    """The given words with masks in the gaps, or with the padded fillings where they are given.

    Raises:
        RequestError: the text has no gap.
    """
    parts = text_with_gaps.split(GAP)
    if len(parts) == 1:
        raise RequestError(f"infill needs a text with at least one gap '{GAP}', got {text_with_gaps!r:.80}")
    tokens: list[int] = tokenizer.encode(parts[0].strip())
    gaps: list[tuple[int, int]] = []
    for index, part in enumerate(parts[1:]):
        gaps.append((len(tokens), len(tokens) + GAP_SLOTS))
        tokens += _slots(tokenizer, fillings[index] if fillings else None)
        tokens += tokenizer.encode(part.strip())
    return Canvas(tuple(tokens), tuple(gaps))


def draft_batch(tokenizer: TextTokenizer, texts: Sequence[str], most: int) -> tuple[Tensor, Tensor]:
    """The tokens of some drafts, each with one padding that ends it, int64 [batch, draft], and where they are no
    further padding, bool [batch, draft]. At most `most` tokens of a draft are read; its latents hold all of it."""
    ids = [[*row[: most - 1], tokenizer.pad_token_id] for row in tokenizer.encode_batch(texts)]
    length = max(len(row) for row in ids)
    tokens = torch.tensor([[*row, *[tokenizer.pad_token_id] * (length - len(row))] for row in ids])
    mask = torch.tensor([[position < len(row) for position in range(length)] for row in ids])
    return tokens, mask


def hint_batch(tokenizer: TextTokenizer, texts: Sequence[str], most: int) -> tuple[Tensor, Tensor]:
    """The tokens of some hints, int64 [batch, hint], and where they are real, bool [batch, hint]: nowhere in a row
    without a hint, and never at an end, since the end of a hint is not that of the text. At most `most` are read."""
    tokens, _ = draft_batch(tokenizer, texts, most)
    return tokens, tokens != tokenizer.pad_token_id


def _slots(tokenizer: TextTokenizer, filling: str | None) -> list[int]:
    if filling is None:
        return [tokenizer.mask_token_id] * GAP_SLOTS
    ids = tokenizer.encode(filling)[:GAP_SLOTS]
    return ids + [tokenizer.pad_token_id] * (GAP_SLOTS - len(ids))
