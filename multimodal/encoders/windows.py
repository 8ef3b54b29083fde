"""Clips longer than what an encoder hears at once: cut into windows that overlap, their states joined again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Windows:
    """Where clips are cut and what of each window counts.

    Windows begin every `steps_per_window - overlap` steps, so that the steps of all of them lie on one grid. Two
    neighbours share `overlap` steps: the first half of these is taken from the window before, the rest from the one
    behind, so that each step comes from the window that hears more of what is around it, once and only once.

    Args:
        hop: inputs (samples) of a step, the time from one state to the next.
        steps_per_window: the window's length in steps.
        overlap: steps that neighbours share.
        tokens_per_step: states of each step, as where an encoder has several frequency bands.
    """

    hop: int
    steps_per_window: int
    overlap: int
    tokens_per_step: int = 1

    @classmethod
    def sharing(
        cls, share: float, hop: int, steps_per_window: int, lost_steps: int = 0, tokens_per_step: int = 1
    ) -> Windows:
        """Windows of which neighbours share this much, from 0 to 0.5.

        Args:
            lost_steps: how many steps a window has less than its length, where its last ones would hear beyond it;
                the overlap is at least twice as long, so that the joined states have no gap.
        """
        overlap = max(round(share * steps_per_window), 2 * lost_steps)
        return cls(hop, steps_per_window, overlap, tokens_per_step)

    @property
    def size(self) -> int:
        """Inputs of a window."""
        return self.hop * self.steps_per_window

    @property
    def stride(self) -> int:
        """Steps from the beginning of a window to that of the next."""
        return self.steps_per_window - self.overlap

    def cut(self, length: int) -> list[slice]:
        """The windows of a clip of `length` inputs; each has something that the ones before it lack."""
        further = max(0, -(-(length - self.size) // (self.stride * self.hop)))
        starts = [number * self.stride * self.hop for number in range(further + 1)]
        return [slice(start, min(start + self.size, length)) for start in starts]

    def join(self, windows: Sequence[Tensor]) -> Tensor:
        """States of a clip [n, d] of the states of its windows, each [n_i, d], in order."""
        half, last = self.overlap // 2, len(windows) - 1
        parts = []
        for number, states in enumerate(windows):
            begin = half * self.tokens_per_step if number > 0 else 0
            end = (self.stride + half) * self.tokens_per_step if number < last else len(states)
            parts.append(states[begin:end])
        return torch.cat(parts)
