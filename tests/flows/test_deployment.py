"""prefect.yaml on a real server: work pool, deployment, worker, and a run that the API can find afterwards."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest

from flows.server import free_port
from tests.conftest import ROOT
from tests.flows.conftest import SMOKE

DEPLOYMENT = "multimodal/sample-nightly"


class Server:
    """A real Prefect server on loopback, with its own home, and the commands that talk to it."""

    def __init__(self, home):
        self.port = free_port()
        self.home = home
        self.env = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        self.env |= {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api"}
        self.env |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        self.env |= {"PREFECT_WORKER_QUERY_SECONDS": "1"}

    def prefect(self, *arguments):
        """Run a `prefect` command to its end, in the project's folder."""
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        result = subprocess.run(
            command, cwd=ROOT, env=self.env, check=False, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def post(self, path, values):
        """The answer of one API call."""
        data = json.dumps(values).encode()
        request = urllib.request.Request(f"{self.env['PREFECT_API_URL']}/{path}", data)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def answers(self):
        """Whether it is up."""
        try:
            with urllib.request.urlopen(f"{self.env['PREFECT_API_URL']}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


@contextmanager
def running(command, env, log, cwd=ROOT):
    """A process for the block; it is ended by its id."""
    with log.open("w") as output:
        process = subprocess.Popen(command, env=env, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The server, up."""
    home = tmp_path_factory.mktemp("prefect-home")
    server = Server(home)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(server.port)]
    with running(command, server.env, home / "server.log"):
        wait_until(server.answers, 300)
        yield server


def wait_until(condition, seconds):
    """Poll until a condition holds, and return what it returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.3)
    raise AssertionError(f"not within {seconds} s")


def test_a_worker_runs_the_deployed_pipeline_and_its_artifacts_are_found(server, smoke, tmp_path):
    """prefect.yaml deploys with a nightly schedule; a worker completes a run, whose artifacts the API returns."""
    server.prefect("work-pool", "create", "multimodal", "--type", "process")
    server.prefect("deploy", "--all")
    deployment = server.post("deployments/filter", {})[0]
    assert deployment["schedules"][0]["schedule"]["cron"] == "0 2 * * *"
    worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "multimodal", "--name", "test"]
    parameters = {"config_path": SMOKE, "overrides": smoke.overrides}
    with running(worker, server.env, tmp_path / "worker.log", cwd=tmp_path):
        run = server.post(f"deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})
        states = ("COMPLETED", "FAILED", "CRASHED")
        by_id = {"flow_runs": {"id": {"any_": [run["id"]]}}}
        ended = wait_until(
            lambda: [item for item in server.post("flow_runs/filter", by_id) if item["state_type"] in states], 400
        )
    assert ended[0]["state_type"] == "COMPLETED", (tmp_path / "worker.log").read_text()[-3000:]
    artifacts = {artifact["key"]: artifact for artifact in server.post("artifacts/filter", {})}
    assert {"ingest-summary", "train-table", "evaluate-table", "register-summary"} <= set(artifacts)
    table = json.loads(artifacts["evaluate-table"]["data"])
    assert {row["task"] for row in table} == {"caption", "transcribe", "denoise", "infill", "restyle"}


def test_schedule_serves_the_pipeline_from_one_process(server, smoke, tmp_path):
    """`multimodal schedule` registers the schedule with the configured server and waits for it."""
    command = [sys.executable, "-m", "flows.cli", "schedule", SMOKE, *smoke.overrides, "--cron", "30 1 * * *"]
    by_name = {"deployments": {"name": {"any_": ["smoke"]}}}
    with running(command, server.env, tmp_path / "schedule.log"):
        deployment = wait_until(lambda: server.post("deployments/filter", by_name), 300)[0]
        assert deployment["schedules"][0]["schedule"]["cron"] == "30 1 * * *"
        assert deployment["parameters"] == {"config_path": SMOKE, "overrides": smoke.overrides}
