"""One command in a process of its own: how long it takes, and what it holds in memory with all its children."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from tests.conftest import ROOT


@dataclass(frozen=True)
class Cost:
    """Of one command with all its children: wall seconds, peak of the summed resident memory in GB, what it printed."""

    seconds: float
    gigabytes: float
    output: str


def watched(command: Sequence[str]) -> Cost:
    """Run a command, which must end well, and watch it."""
    started, peak = time.monotonic(), [0]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def watch() -> None:
        while process.poll() is None:
            peak[0] = max(peak[0], _resident(process.pid))
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    watcher.join()
    assert process.returncode == 0, output
    return Cost(time.monotonic() - started, peak[0] / 1e9, output)


def _resident(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        return sum(process.memory_info().rss for process in (parent, *parent.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0
