"""What a run of the sample pipeline costs: minutes, memory, and the cost of a run with nothing changed.

make bench        about 14 minutes on two quiet cores; prints what it measured
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class Cost:
    """Of one command with all its children: wall seconds, peak of the summed resident memory in GB, what it printed."""

    seconds: float
    gigabytes: float
    output: str


def run(conf: str, workspace: Path) -> Cost:
    """Run a configuration in its own process, and watch it."""
    command = [sys.executable, "-m", "flows.cli", "run", conf, f"workspace={workspace}"]
    started, peak = time.monotonic(), [0]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def watch() -> None:
        while process.poll() is None:
            peak[0] = max(peak[0], _resident(process.pid))
            time.sleep(0.5)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    watcher.join()
    assert process.returncode == 0, output
    cost = Cost(time.monotonic() - started, peak[0] / 1e9, output)
    print(f"\n{conf}: {cost.seconds:.1f} s, {cost.gigabytes:.2f} GB")
    return cost


def _resident(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        return sum(process.memory_info().rss for process in (parent, *parent.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def test_sample_run_fits_twelve_minutes_and_four_gigabytes(tmp_path: Path) -> None:
    """The first run; then one with nothing changed, in which every stage says so, in 25 seconds."""
    first = run("conf/sample.yaml", tmp_path / "workspace")
    second = run("conf/sample.yaml", tmp_path / "workspace")
    assert first.seconds <= 12 * 60 and first.gigabytes <= 4
    assert second.output.count("unchanged:") == 5 and second.seconds <= 25


def test_smoke_run_fits_a_minute(tmp_path: Path) -> None:
    """conf/smoke.yaml, from nothing."""
    assert run("conf/smoke.yaml", tmp_path / "workspace").seconds < 60
