"""Both dashboards on one workspace, until interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from flows.console import show_facts
from flows.server import DASHBOARD, prepare_environment

MLFLOW_PORT = 5000


def show_dashboards(workspace: Path) -> None:
    """Start the Prefect and the MLflow server on loopback and wait; both end with this process."""
    prepare_environment(workspace)
    from multimodal.tracking import prepare_tracking

    uri = prepare_tracking(workspace)
    prefect = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", "4200"]
    mlflow = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(MLFLOW_PORT)]
    mlflow += ["--workers", "1", "--backend-store-uri", uri]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    servers = [
        subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in (prefect, mlflow)
    ]
    show_facts({"Prefect": DASHBOARD, "MLflow": f"http://127.0.0.1:{MLFLOW_PORT}", "": "Ctrl-C ends both"})
    try:
        for server in servers:
            server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()
