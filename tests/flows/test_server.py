import os
import subprocess
import sys
import time

import psutil
import pytest

from flows.server import embedded_server, prepare_environment, server_configured
from multimodal.errors import ConfigError
from tests.conftest import ROOT

SILENT = ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_PROFILE")


@pytest.fixture
def unconfigured(monkeypatch, tmp_path):
    """No Prefect configured, neither in the environment nor in the home directory."""
    for name in SILENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_prefects_home_is_in_the_workspace_unless_the_user_has_one(unconfigured, tmp_path, monkeypatch):
    """The embedded server's database lies with everything else that runs leave; a user's own home is kept."""
    prepare_environment(tmp_path / "workspace")
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "workspace" / "prefect")
    monkeypatch.setenv("PREFECT_HOME", "/elsewhere")
    prepare_environment(tmp_path / "workspace")
    assert os.environ["PREFECT_HOME"] == "/elsewhere"
    monkeypatch.delenv("PREFECT_HOME")


def test_a_workspace_that_cannot_be_made_is_refused(unconfigured, tmp_path):
    """A file where the workspace should be is a wrong configuration, not a stack trace."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        prepare_environment(tmp_path / "file")


def test_a_configured_server_is_used(unconfigured, monkeypatch):
    """With PREFECT_API_URL nothing is started."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert server_configured()
    with embedded_server() as wait_for_server:
        wait_for_server()
        assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:1/api"


def test_the_embedded_server_ends_with_a_killed_parent(tmp_path):
    """A parent that dies by kill -9 closes its end of the pipe, and the server leaves."""
    code = "import time; from flows.server import EmbeddedServer, free_port; s = EmbeddedServer(free_port()); "
    code += "s.wait(); print(s._process.pid, flush=True); time.sleep(600)"
    env = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**env, "PREFECT_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    server = psutil.Process(int(parent.stdout.readline()))
    assert server.is_running()
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.1)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
