"""Saving, loading and sharing a decoder."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from multimodal.errors import CheckpointError
from multimodal.generation import FILES, Request, TextGenerator
from multimodal.sample import Task
from multimodal.training.options import SamplerOptions
from tests.generation.hub_server import COMMIT, hub_server
from tests.small_model import small_checkpoint


@pytest.fixture
def generator(tmp_path: Path) -> TextGenerator:
    return TextGenerator.load(small_checkpoint(tmp_path / "checkpoint", {"image": 6, "audio": 4, "text": 5}))


def texts(generator: TextGenerator) -> list[str]:
    rng = np.random.default_rng(0)
    requests = [Request(f"r{i}", Task.CAPTION, rng.normal(size=(3, 6)).astype(np.float32)) for i in range(4)]
    return [written.text for written in generator.generate(requests, SamplerOptions(temperature=1.0))]


def test_what_is_saved_is_what_a_checkpoint_holds(generator: TextGenerator, tmp_path: Path) -> None:
    """The same three files and a model card; both ways to load them give the same texts."""
    generator.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {*FILES, "README.md"}
    for name in ("decoder.safetensors", "tokenizer.json"):
        assert (tmp_path / "saved" / name).read_bytes() == (tmp_path / "checkpoint" / name).read_bytes()
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "caption, transcribe, denoise, infill, restyle" in card and "formal, informal" in card
    for loaded in (TextGenerator.from_pretrained(tmp_path / "saved"), TextGenerator.load(tmp_path / "saved")):
        assert texts(loaded) == texts(generator) and loaded.canvas == generator.canvas
        assert not loaded.decoder.training


def test_round_trip_over_a_hub(generator: TextGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was pushed is what is loaded; the second time it comes from the cache, with no hub there."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
        )
        assert COMMIT in generator.push_to_hub("me/tiny", token="hf_test")
        assert {*FILES, "README.md"} <= server.files.keys()
        loaded = TextGenerator.from_pretrained("me/tiny", cache_dir=tmp_path / "cache")
    assert texts(loaded) == texts(generator)
    assert texts(TextGenerator.from_pretrained("me/tiny", cache_dir=tmp_path / "cache")) == texts(generator)


def test_no_hub_is_found_out_in_seconds(generator: TextGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both directions name what was tried and what to do."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=r"'me/absent' .*cannot be reached; give a local folder"):
        TextGenerator.from_pretrained("me/absent")
    with pytest.raises(CheckpointError, match=r"'me/tiny' cannot be uploaded: .*save_pretrained"):
        generator.push_to_hub("me/tiny")
    assert time.monotonic() - started < 5


def test_an_incomplete_folder_is_named(tmp_path: Path) -> None:
    """With what it lacks."""
    with pytest.raises(CheckpointError, match=r"lacks decoder\.safetensors, config\.json, tokenizer\.json"):
        TextGenerator.from_pretrained(tmp_path)


@pytest.mark.parametrize("option", [{"draft": True}, {"num_layers": 5}])
def test_a_decoder_of_another_version_is_refused(tmp_path: Path, option: dict[str, object]) -> None:
    """Options that are gone, and weights that are missing: one line with the cure, no stack trace."""
    folder = small_checkpoint(tmp_path / "checkpoint", {"image": 6, "audio": 4, "text": 5})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"decoder": config["decoder"] | option}))
    with pytest.raises(CheckpointError, match="the version that made it"):
        TextGenerator.load(folder)
