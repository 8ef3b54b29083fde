"""The Prefect server of the process's own, and the environment in which Prefect and MLflow are quiet and local.

Where no server is configured, `embedded_server` starts one on a free loopback port, with its database in the
workspace. It is started before Prefect and torch are imported, so that both load at once, and it ends with its
parent, however the parent ends: it reads a pipe whose other end only the parent holds.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from multimodal.errors import ConfigError, MultimodalError

START_SECONDS = 180
STOP_SECONDS = 10
DASHBOARD = "http://127.0.0.1:4200"

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""No telemetry, which fails slowly where there is no network, and no bars but ours; what the user has set stays."""


def prepare_environment(workspace: Path, verbose: bool = False) -> None:
    """Set what Prefect reads when it is imported: no telemetry, a quiet console, a home in the workspace.

    A Prefect that the user has configured (`PREFECT_HOME`, `PREFECT_API_URL`, `PREFECT_PROFILE`, or profiles in the
    home directory) is used as it is.

    Raises:
        ConfigError: the workspace cannot be written.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not verbose:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # logs still reach the dashboard
    if not _user_has_prefect():
        home = workspace.resolve() / "prefect"
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"the workspace {workspace} cannot be written: {error}; choose another one") from error
        os.environ["PREFECT_HOME"] = str(home)


def _user_has_prefect() -> bool:
    named = any(os.environ.get(name) for name in ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_PROFILE"))
    return named or (Path.home() / ".prefect" / "profiles.toml").is_file()


def server_configured() -> bool:
    """Whether a Prefect server is configured, by the environment or by the user's profile."""
    if os.environ.get("PREFECT_API_URL"):
        return True
    if not (Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect")) / "profiles.toml").is_file():
        return False
    from prefect.settings import PREFECT_API_URL

    return bool(PREFECT_API_URL.value())


class EmbeddedServer:
    """A Prefect server that lives as long as this process at most.

    Args:
        port: on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        command = [sys.executable, "-m", "flows.server", str(port)]
        # The database of Prefect and the pipe's end are all that the two processes share.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_server_env()
        )

    @property
    def url(self) -> str:
        """Its address; the API is below it, at `/api`."""
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            MultimodalError: it ended, or does not answer in `START_SECONDS`.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                return
            time.sleep(0.05)
        raise MultimodalError(
            f"the embedded Prefect server did not start ({sys.executable} -m flows.server {self.port}); "
            "`multimodal doctor` names the usual causes, PREFECT_API_URL points at a server of your own"
        )

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/api/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def embedded_server() -> Iterator[Callable[[], None]]:
    """A server for the block where the user has configured none. Prefect must not have been imported before.

    Yields:
        what waits until the server answers: to be called after the long imports, which go on while it starts.
    """
    if server_configured():
        yield lambda: None
        return
    server = EmbeddedServer(free_port())
    os.environ["PREFECT_API_URL"] = f"{server.url}/api"
    os.environ.setdefault("PREFECT_UI_URL", DASHBOARD)  # links outlive this server; `prefect server start` serves them
    try:
        yield server.wait
    finally:
        _send_the_rest()
        del os.environ["PREFECT_API_URL"]
        server.stop()


def _send_the_rest() -> None:
    """Send what Prefect still holds back: logs and events sent after the server's end are retried for a minute."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=STOP_SECONDS)


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _server_env() -> dict[str, str]:
    quiet = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1", "PREFECT_LOGGING_SERVER_LEVEL": "ERROR"}
    return {**os.environ, **quiet}


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # returns when the parent's end of the pipe closes
    os._exit(0)


def main() -> None:
    """Serve on the port given as the only argument until the parent ends."""
    import uvicorn

    threading.Thread(target=_end_with_parent, daemon=True).start()
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        lifespan="on",
    )


if __name__ == "__main__":
    main()
