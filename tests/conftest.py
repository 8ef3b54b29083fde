"""Fixtures that every test may use. Prefect and MLflow are the real ones, on loopback and in temporary folders."""

import os
from pathlib import Path

import pytest

from flows.server import QUIET

ROOT = Path(__file__).parents[1]

for name, value in {**QUIET, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}.items():
    os.environ.setdefault(name, value)


@pytest.fixture(scope="session")
def prefect_server():
    """A real Prefect server of the session's own, without the heartbeats that cost a second per flow."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        from prefect.settings import PREFECT_API_URL

        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield PREFECT_API_URL.value()


@pytest.fixture
def project_folder(monkeypatch) -> Path:
    """The project's folder, as working directory: configurations name their sources relative to it."""
    monkeypatch.chdir(ROOT)
    return ROOT
