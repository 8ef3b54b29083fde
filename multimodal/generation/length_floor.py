"""Texts that do not end too early: the first look at an empty canvas tells how long a text will be.

A text's slots hold its tokens and then padding, so that P(length <= n) is the probability that slot n + 1 is padding.
Where the surest tokens are unmasked first, the padding at the canvas's end is, and each padding that is written speaks
for a shorter text than the one before: an undertrained decoder writes itself down to no text at all. So no slot may
become padding that the first call held for padding with less than some probability: the text is then at least as long
as that quantile of its length.
"""

from __future__ import annotations

import torch
from torch import Tensor


class LengthFloor:
    """Holds back padding in the texts of one batch.

    Args:
        canvas: int64 [batch, length], what sampling starts from.
        mask, pad: token ids.
        quantile: of the length, 0 to 1: no text gets shorter; 0 holds nothing back. Canvases on which something is
            given are left alone: they have gaps, whose padding is not at the end.
    """

    def __init__(self, canvas: Tensor, mask: int, pad: int, quantile: float) -> None:
        self._open = (canvas == mask).all(-1, keepdim=True)
        self._pad, self._quantile = pad, quantile
        self._held: Tensor | None = None

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Logits [rows, length, vocab] of some rows of the batch without the padding that comes too early.

        The first call sees all rows, as samplers do.
        """
        if self._quantile == 0:
            return logits
        if self._held is None:
            self._held = self._open & (logits.float().softmax(-1)[..., self._pad] < self._quantile)
        too_early = torch.zeros_like(logits, dtype=torch.bool)
        too_early[..., self._pad] = self._held[rows]
        return logits.masked_fill(too_early, -torch.inf)
