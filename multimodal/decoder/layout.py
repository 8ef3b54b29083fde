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
        bias: float [length, length], with all that was read before [length, past + length], or of each row [batch, 1,
            length, length]: 0 where a position looks and -inf where it does not; None: each sees all.
    """

    places: Tensor
    end: int
    bias: Tensor | None = None


@lru_cache(maxsize=64)
def left_to_right(length: int, device: torch.device) -> TextLayout:
    """Each position sees itself and what stands before it."""
    return TextLayout(torch.arange(length, device=device), length, causal_bias(length, length).to(device))


def prefix_and_draft(length: int, prefix: Tensor) -> TextLayout:
    """The start and the first tokens of a text, which are read left to right, and after them the slots of its draft,
    which see them and each other.

    Args:
        length: places of the text.
        prefix: int64 [batch], tokens before the slots; the first slot stands one place after what they settle.
    """
    places = torch.arange(length, device=prefix.device)
    read = places <= prefix[:, None]  # [batch, length]
    seen = (places <= places[:, None]) | ~read[..., None]  # [batch, length, length]
    return TextLayout(places, length, _bias(seen)[:, None])


def text_and_draft(length: int, prefix: Tensor) -> TextLayout:
    """A text that is read left to right, `length` positions of which the first is its start, and after it slots for
    the places 1 to `length` - 1, of which those after the prefix see it and each other as in `prefix_and_draft`, and
    nothing of the text behind it (TiDAR, Liu et al. 2025, with one block, which is all of the rest). What the slots
    within the prefix say is of no use.

    Args:
        length: positions of the text.
        prefix: int64 [batch], tokens of the text that the draft sees.
    """
    places = torch.arange(length, device=prefix.device)
    text, slots = places, places[1:]
    after = slots > prefix[:, None]  # [batch, slots]
    batch = len(prefix)
    of_text = torch.cat([text <= text[:, None], text.new_zeros(length, length - 1, dtype=torch.bool)], 1)
    of_slots = torch.cat([text <= prefix[:, None], after], 1)
    seen = torch.cat([of_text.expand(batch, -1, -1), of_slots[:, None].expand(-1, length - 1, -1)], 1)
    return TextLayout(torch.cat([text, slots]), length, _bias(seen)[:, None])


def _bias(seen: Tensor) -> Tensor:
    return torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, -torch.inf)
