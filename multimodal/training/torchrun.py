"""What torchrun tells the processes that it starts; needs no torch."""

from __future__ import annotations

import os


def num_processes() -> int:
    """How many processes train together; 1 where torchrun did not start this one."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def rank() -> int:
    """Which of them this one is: the first, 0, does all that only one may do."""
    return int(os.environ.get("RANK", "0")) if num_processes() > 1 else 0
