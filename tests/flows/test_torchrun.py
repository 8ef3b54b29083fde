"""`multimodal train` in two processes that torchrun starts on loopback."""

import os
import subprocess
import sys

import pytest

from flows.pipeline import dry_run, read_config
from tests.conftest import ROOT
from tests.flows.conftest import SMOKE


def torchrun(*arguments):
    """The command line in two processes."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "flows.cli"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path, project_folder):
    """The first runs the stages and prints, the second takes part in training alone; what they made is what one
    process would have made: the next run finds it and has nothing to do."""
    workspace = f"workspace={tmp_path / 'workspace'}"
    done = torchrun("train", SMOKE, workspace)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("after 20 steps") == 1
    (run,) = (tmp_path / "workspace" / "checkpoints").iterdir()
    assert (run / "index.json").is_file()
    assert not any(intention.runs for intention in dry_run(read_config(SMOKE, [workspace]), "train"))


def test_other_commands_are_refused():
    """One sweep in two processes would be two sweeps."""
    done = torchrun("doctor")
    assert done.returncode != 0 and "torchrun starts training only" in done.stderr
