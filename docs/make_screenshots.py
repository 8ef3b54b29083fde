"""Pictures of both dashboards and of the report for the README, from a workspace's real runs, in headless Chromium.

python docs/make_screenshots.py [WORKSPACE]      needs Debian's `chromium`; writes docs/*.png
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from mlflow import MlflowClient
from playwright.sync_api import Page, sync_playwright

from flows.server import prepare_environment
from multimodal.tracking import tracking_uri

DOCS = Path(__file__).parent
MODEL = "multimodal-sample"
PREFECT, MLFLOW = "http://127.0.0.1:14210", "http://127.0.0.1:15010"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


@contextmanager
def server(arguments: list[str], url: str, env: dict[str, str]) -> Iterator[None]:
    """A server that answers at `url`, and ends with the block."""
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(240):
            try:
                urlopen(url, timeout=2).close()
                break
            except (URLError, OSError):
                time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait(30)


def shoot(page: Page, url: str, name: str, seconds: float = 6, clicks: tuple[str, ...] = ()) -> None:
    """Open a page, give its charts time to load, click away what hides them, and keep the picture."""
    page.goto(url, timeout=120_000, wait_until="commit")
    page.wait_for_timeout(1000 * seconds)
    for text in clicks:
        target = page.get_by_label(text).or_(page.get_by_text(text, exact=True)).first
        if target.is_visible():
            target.click()
            page.wait_for_timeout(2500)
    page.screenshot(path=str(DOCS / name))


def newest_flow_run() -> str:
    """Id of the newest finished pipeline run on the Prefect server."""
    import httpx

    body = {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": ["multimodal"]}},
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}  # fmt: skip
    return str(httpx.post(f"{PREFECT}/api/flow_runs/filter", json=body).json()[0]["id"])


def main(workspace: Path) -> None:
    """Take all pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("needs chromium: apt-get install --no-install-recommends chromium fonts-dejavu-core")
    prepare_environment(workspace)
    plain = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false"}
    env = {**os.environ, **plain, "PREFECT_UI_API_URL": f"{PREFECT}/api"}
    uri = tracking_uri(workspace)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(MODEL)
    if experiment is None:
        raise SystemExit(f"no runs of {MODEL} in {workspace}: make run")
    trains = client.search_runs([experiment.experiment_id], "tags.mlflow.runName = 'train'")
    run = next(each for each in trains if "train/loss" in each.data.metrics)
    report = max(workspace.glob("reports/*/report.html"), key=lambda path: path.stat().st_mtime)
    prefect = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", PREFECT.rsplit(":", 1)[1]]
    mlflow = ["mlflow", "server", "--host", "127.0.0.1", "--port", MLFLOW.rsplit(":", 1)[1], "--workers", "1"]
    mlflow += ["--backend-store-uri", uri]
    with (
        server(prefect, f"{PREFECT}/api/health", env),
        server(mlflow, f"{MLFLOW}/health", env),
        sync_playwright() as play,
    ):
        page = play.chromium.launch(executable_path=chromium, args=list(FLAGS)).new_page(
            viewport={"width": 1360, "height": 850}
        )
        shoot(page, report.resolve().as_uri(), "report.png", 3)
        shoot(page, f"{PREFECT}/runs/flow-run/{newest_flow_run()}", "prefect-run.png", 20)
        shoot(page, f"{PREFECT}/artifacts", "prefect-artifacts.png", 20)
        metrics = f"{MLFLOW}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics"
        shoot(page, metrics, "mlflow-metrics.png", 10, ("Close",))
        shoot(page, f"{MLFLOW}/#/models/{MODEL}", "mlflow-model.png", 8, ("Close",))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "workspace"))
