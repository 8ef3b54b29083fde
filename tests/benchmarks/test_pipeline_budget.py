"""What a run of the sample pipeline costs: minutes, memory, and the cost of a run with nothing changed.

make bench        about 14 minutes on two quiet cores; prints what it measured
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.benchmarks.watched import Cost, watched

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]


def run(conf: str, workspace: Path) -> Cost:
    """Run a configuration in its own process, and watch it."""
    cost = watched([sys.executable, "-m", "flows.cli", "run", conf, f"workspace={workspace}"])
    print(f"\n{conf}: {cost.seconds:.1f} s, {cost.gigabytes:.2f} GB")
    return cost


def test_sample_run_fits_twelve_minutes_and_four_gigabytes(tmp_path: Path) -> None:
    """The first run; then one with nothing changed, in which every stage says so, in 25 seconds."""
    first = run("conf/sample.yaml", tmp_path / "workspace")
    second = run("conf/sample.yaml", tmp_path / "workspace")
    assert first.seconds <= 12 * 60 and first.gigabytes <= 4
    assert second.output.count("unchanged:") == 5 and second.seconds <= 25


def test_smoke_run_fits_a_minute(tmp_path: Path) -> None:
    """conf/smoke.yaml, from nothing."""
    assert run("conf/smoke.yaml", tmp_path / "workspace").seconds < 60
