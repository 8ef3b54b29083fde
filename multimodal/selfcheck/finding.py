"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Args:
        passed: its verdict.
        found: the numbers behind it.
        wanted: what they had to be.
        figure: a picture of it.
    """

    passed: bool
    found: str
    wanted: str
    figure: Figure | None = None
