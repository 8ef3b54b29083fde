"""Fixtures of the MLflow tests: workspaces with a tracking database that was made once, and a small real model."""

from pathlib import Path

import pytest

from multimodal.package import write_package
from multimodal.predictor import Row
from multimodal.tracking import prepare_tracking
from multimodal.training.options import SamplerOptions
from tests.small_model import copy_workspace, load_all_encoders, picture, small_checkpoint, sound


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


@pytest.fixture(scope="session")
def small_package(tmp_path_factory):
    """A model package of all five tasks around real encoders and a real decoder, with random weights."""
    folder = tmp_path_factory.mktemp("small-package")
    encode, encoders = load_all_encoders(folder)
    checkpoint = small_checkpoint(folder / "checkpoint", {key: item.hidden_size for key, item in encoders.items()})
    probe = [
        Row("caption", data=picture("red")),
        Row("transcribe", data=sound(0.4)),
        Row("denoise", text="a smal red ciircle"),
        Row("infill", text="a small ___ circle"),
        Row("restyle", text="a small red circle", style="formal"),
    ]
    return write_package(folder / "packages", checkpoint, encoders, encode, SamplerOptions(num_steps=3), probe)
