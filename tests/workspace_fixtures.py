"""The tiny workspace of `tests.small_workspace`, to read and to damage."""

import shutil

import pytest

from tests.small_workspace import Made, make_workspace


@pytest.fixture(scope="session")
def ingested_once(tmp_path_factory):
    """The workspace that tests read."""
    return make_workspace(tmp_path_factory.mktemp("made"))


@pytest.fixture
def made(ingested_once, tmp_path):
    """A copy of the workspace that a test may damage."""
    shutil.copytree(ingested_once.workspace, tmp_path / "workspace")
    return Made(tmp_path)
