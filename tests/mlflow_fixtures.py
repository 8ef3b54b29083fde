"""Fixtures of the MLflow tests: workspaces with a tracking database that was made once."""

import shutil
from pathlib import Path

import pytest

from multimodal.tracking import DATABASE, LOCK, prepare_tracking


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A workspace with an empty tracking database: making one takes MLflow seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder = tmp_path_factory.mktemp("made-once")
        prepare_tracking(folder)
    return folder


@pytest.fixture
def workspace(made_once, tmp_path, monkeypatch) -> Path:
    """A workspace of the test's own, with a space in its name and an empty tracking database."""
    return copy_workspace(made_once, tmp_path / "my workspace", monkeypatch)


def copy_workspace(made_once: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a copy of the empty database, and no tracking server configured."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder.mkdir()
    for name in (DATABASE, LOCK):
        shutil.copy(made_once / name, folder / name)
    return folder
