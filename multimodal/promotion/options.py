"""Limits of the promotion gate."""

from __future__ import annotations

from pydantic import Field

from multimodal.options import Options


class GateOptions(Options):
    """Limits of the promotion gate; `None` switches a rule off.

    Args:
        confidence: of the interval of the gain over the champion.
        min_gain: the interval's lower end must be above this, on a scale from 0 to 1.
        worst_slice_drop: how much worse than the champion's a task's worst slice may be, on the same scale.
        min_conditioning_gap: each task's score must exceed that with shuffled conditions by more than this.
        max_ms_per_sample: milliseconds that a text of the slowest task may take.
        max_test_in_train: test contents that may be in train.
    """

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    min_gain: float = 0.0
    worst_slice_drop: float | None = Field(default=0.05, ge=0)
    min_conditioning_gap: float | None = 0.0
    max_ms_per_sample: float | None = Field(default=None, gt=0)
    max_test_in_train: int | None = Field(default=0, ge=0)
