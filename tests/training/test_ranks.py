"""Two real processes, joined over gloo on loopback by torchrun, train what one process trains."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from multimodal.training.checkpoint import finished_steps
from tests.conftest import ROOT
from tests.training.trained_together import OPTIONS, losses_of, trainer_of


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """A folder with what each of two processes saw."""
    out = tmp_path_factory.mktemp("together")
    torchrun(2, "-m", "tests.training.trained_together", str(out))
    return out


def torchrun(count: int, *command: str) -> subprocess.CompletedProcess:
    """A program in several processes on loopback."""
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "--standalone"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*start, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def found_by(out: Path) -> list[dict]:
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


def about(metrics: dict[str, float]) -> dict:
    """Equal but for the order of sums, which Muon's bfloat16 magnifies in the weights from step to step."""
    return {
        name: pytest.approx(value, rel=5e-3 if name == "train/gradient_norm" else 1e-4)
        for name, value in metrics.items()
    }


def test_losses_and_gradients_are_those_of_one_process(together: Path, tmp_path: Path) -> None:
    """Step by step: the same rows under the same noise, whoever works on which."""
    alone = losses_of(trainer_of(tmp_path, []))
    first, second = found_by(together)
    assert first["losses"] == second["losses"]
    for ours, theirs in zip(first["losses"], alone, strict=True):
        assert ours == about(theirs)
    assert first["losses"][0] == pytest.approx(alone[0], rel=1e-5)


def test_rows_are_shared_out(together: Path) -> None:
    """Nobody computes or reads what another one does."""
    first, second = ([one for one in found["seen"] if isinstance(one, dict)] for found in found_by(together))
    assert {one["all"] for one in first} == {9}
    assert {one["task"] for one in first} == {one["condition"] for one in first} == {5}
    assert {one["task"] for one in second} == {one["condition"] for one in second} == {4}


def test_all_hold_the_same_weights(together: Path) -> None:
    """To the bit, also where edits depend on the rows."""
    first, second = found_by(together)
    assert first["weights"] == second["weights"]
    assert first["hybrid_weights"] == second["hybrid_weights"]
    assert first["hybrid"] == second["hybrid"]


def test_only_the_first_writes_scores_and_reports(together: Path) -> None:
    """Two scores in eight steps, every step reported; the second process does none of it, and the history is one."""
    first, second = (found["seen"] for found in found_by(together))
    assert first.count("scored") == 2 and "done 8" in first and "logged 8" in first
    assert {one for one in second if isinstance(one, str)} == set()
    rows = [json.loads(line) for line in (together / "whole/history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "val/score" in row] == [4, 8]


def test_killed_processes_resume_bit_identically(together: Path) -> None:
    """Both go on from the newest checkpoint, at step 4 of 8."""
    for found in found_by(together):
        assert found["resumed"] == 4
        assert found["resumed_weights"] == found["weights"]


def test_one_process_goes_on_where_two_stopped(together: Path, tmp_path: Path) -> None:
    """The number of processes is no part of a training."""
    run = tmp_path / "run"
    shutil.copytree(together / "whole", run)
    last = max(finished_steps(run))
    assert last == OPTIONS.steps
    shutil.rmtree(run / f"step-{last:06d}")
    alone = losses_of(trainer_of(run, []))
    assert len(alone) == OPTIONS.steps - max(finished_steps(together / "whole")[:-1])
    expected = found_by(together)[0]["losses"][-len(alone) :]
    for ours, theirs in zip(alone, expected, strict=True):
        assert ours == about(theirs)


def test_too_many_processes_are_refused(together: Path) -> None:
    """In every process, with the cure."""
    for found in found_by(together):
        assert "2 processes cannot share the 1 rows a step of 'caption'" in found["refused"]
