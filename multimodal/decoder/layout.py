"""Where the tokens of a call stand in their text, and which of them see each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from multimodal.decoder.layers import causal_bias


@dataclass(frozen=True, slots=True)
class TextLayout:
    """For decoders that read one text in several ways.

    Args:
        places: int64 [length].
        end: one more than the last of them.
        bias: float [length, length], or with all that was read before [length, past + length]: 0 where a position
            looks and -inf where it does not; None: each sees all.
    """

    places: Tensor
    end: int
    bias: Tensor | None = None


@lru_cache(maxsize=64)
def left_to_right(length: int, device: torch.device) -> TextLayout:
    """Each position sees itself and what stands before it."""
    return TextLayout(torch.arange(length, device=device), length, causal_bias(length, length).to(device))


@lru_cache(maxsize=64)
def text_and_draft(length: int, device: torch.device) -> TextLayout:
    """A text that is read left to right, `length` positions of which the first is its start, and after it the slots of
    its draft, for the places 1 to `length` - 1: they see the start and each other, and nothing of the text (TiDAR, Liu
    et al. 2025, with one block that is the whole text)."""
    slots = length - 1
    bias = torch.full((length + slots, length + slots), -torch.inf)
    bias[:length, :length] = causal_bias(length, length)
    bias[length:, 0] = 0.0
    bias[length:, length:] = 0.0
    places = torch.cat([torch.arange(length), torch.arange(1, length)])
    return TextLayout(places.to(device), length, bias.to(device))


@lru_cache(maxsize=64)
def start_and_draft(length: int, device: torch.device) -> TextLayout:
    """The start of a text and the slots of its draft, as `text_and_draft` lets them see each other: the start, which
    is read left to right, sees itself alone."""
    bias = torch.zeros(length, length)
    bias[0, 1:] = -torch.inf
    return TextLayout(torch.arange(length, device=device), length, bias.to(device))
