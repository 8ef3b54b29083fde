"""What workers do in the tests of runners; importable in other processes."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from multimodal.errors import ConfigError, MediaError


@dataclass(frozen=True)
class Squares:
    """Squares of numbers. Notes its process in `seen`; item 3 kills its worker so many times."""

    seen: Path
    deaths: int = 0

    def __call__(self):
        (self.seen / f"made-{os.getpid()}").touch()

        def work(number):
            if number == 3 and len(list(self.seen.glob("dead-*"))) < self.deaths:
                (self.seen / f"dead-{time.monotonic_ns()}").touch()
                os._exit(9)
            return number * number

        return work


def make_refusing():
    """A worker that finds its configuration wrong."""
    raise ConfigError("no weights here")


def make_failing():
    """A worker with a defect, and one whose error cannot be pickled back."""

    def work(number):
        if number == 1:
            raise MediaError("unreadable", "it shouts")
        raise ZeroDivisionError("division of 1 by 0")

    return work
