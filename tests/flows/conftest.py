"""The smoke pipeline, run twice for all tests of the flows."""

import os
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

SMOKE = "conf/smoke.yaml"


@dataclass(frozen=True)
class SmokeRuns:
    """Two runs of the smoke pipeline in one workspace: results and what they printed."""

    workspace: Path
    first: object
    first_output: str
    second: object
    second_output: str

    @property
    def overrides(self):
        """What makes a configuration use this workspace."""
        return [f"workspace={self.workspace}"]


@pytest.fixture(scope="session")
def smoke(prefect_server, tmp_path_factory):
    """conf/smoke.yaml, run twice on a real Prefect server and MLflow on SQLite."""
    from flows.pipeline import pipeline

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        workspace = tmp_path_factory.mktemp("smoke") / "workspace"
        results, outputs = [], []
        for _ in range(2):
            printed = tmp_path_factory.mktemp("printed") / "console.txt"
            with printed.open("w") as file, redirect_stdout(file):
                results.append(pipeline(SMOKE, [f"workspace={workspace}"]))
            outputs.append(printed.read_text())
        yield SmokeRuns(workspace, results[0], outputs[0], results[1], outputs[1])


@pytest.fixture(scope="session")
def command(prefect_server):
    """Runs the command line in a process of its own, on the session's Prefect server."""

    def run(*arguments, env=None, timeout=300):
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": prefect_server, **(env or {})},
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
