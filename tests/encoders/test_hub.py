"""Names of the hub: only safetensors are asked for. The hub is a server of this test on localhost."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from multimodal.encoders import build_encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.errors import EncoderError
from multimodal.sample import Modality
from tests.encoders.test_audio import build as build_audio
from tests.encoders.test_image import TINY, VIT, picture
from tests.encoders.test_image import build as build_image
from tests.encoders.test_vision import saved as saved_vision
from tests.encoders.test_weights import Malicious, pickled

REVISION = "0" * 40


class Hub(ThreadingHTTPServer):
    """Serves folders as repositories, by name, and notes the files that were asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders: dict[str, Path] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def weights_asked(self) -> set[str]:
        return {name for name in self.asked if not name.endswith((".json", ".txt"))}


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Not to the terminal."""

    def _answer(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        name = "/".join(path.removeprefix("api/models/").split("/")[:2])
        folder = self.server.folders.get(name)
        if folder is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif path.startswith("api/models/") and "/tree/" in path:
            files = [(file.name, file.stat().st_size) for file in sorted(folder.iterdir())]
            tree = [{"type": "file", "path": name, "size": size, "oid": REVISION} for name, size in files]
            self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
        elif path.startswith("api/models/"):
            self._send(200, json.dumps({"id": name, "sha": REVISION}).encode(), {"Content-Type": "application/json"})
        else:
            file = path.rsplit("/", 1)[-1]
            self.server.asked.append(file)
            if (folder / file).is_file():
                data = (folder / file).read_bytes()
                etag = hashlib.sha256(data).hexdigest()
                self._send(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION})
            else:
                self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": REVISION})

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub with an empty cache before it."""
    from huggingface_hub import constants

    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def vision_repository(folder: Path) -> Path:
    return saved_vision("dinov2", folder)


def test_a_model_comes_without_the_pickles_beside_it(hub: Hub, tmp_path: Path) -> None:
    """Config, processor and safetensors are asked for, nothing else; the second time the cache has all of it."""
    hub.folders["org/tower"] = folder = vision_repository(tmp_path / "repository")
    torch.save(Malicious(tmp_path / "trace"), folder / "pytorch_model.bin")
    (folder / "model.onnx").write_bytes(b"large")
    options = EncoderOptions(kind="transformers", weights="org/tower", device="cpu")
    encoder = build_encoder(options, Modality.IMAGE)
    assert (
        encoder.fingerprint
        == build_encoder(options.model_copy(update={"weights": str(folder)}), Modality.IMAGE).fingerprint
    )
    assert hub.weights_asked == {"model.safetensors"}
    hub.asked.clear()
    assert build_encoder(options, Modality.IMAGE).fingerprint == encoder.fingerprint
    assert hub.asked == []


def test_a_cache_that_lacks_a_file_is_filled_up(hub: Hub, tmp_path: Path) -> None:
    """Other programs fetch single files; what they did not need is asked for, and only that."""
    hub.folders["org/tower"] = vision_repository(tmp_path / "repository")
    options = EncoderOptions(kind="transformers", weights="org/tower", device="cpu")
    encoder = build_encoder(options, Modality.IMAGE)
    (missing,) = (tmp_path / "cache").rglob("preprocessor_config.json")
    missing.resolve().unlink()
    missing.unlink()
    hub.asked.clear()
    assert build_encoder(options, Modality.IMAGE).fingerprint == encoder.fingerprint
    assert set(hub.asked) == {"preprocessor_config.json"}


def test_a_repository_of_pickles_is_refused_without_asking_for_them(hub: Hub, tmp_path: Path) -> None:
    """The message says what is missing; where pickles are allowed they are fetched, and still never run."""
    hub.folders["org/old"] = folder = tmp_path / "old"
    build_audio(tmp_path, "hubert").save(folder)
    pickled(folder)
    options = EncoderOptions(kind="wav2vec2", weights="org/old", device="cpu")
    with pytest.raises(EncoderError, match=r"'org/old' has no model\.safetensors .*allow_pickle: true"):
        build_encoder(options, Modality.AUDIO)
    assert hub.weights_asked == set()
    allowed = options.model_copy(update={"allow_pickle": True})
    encoder = build_encoder(allowed, Modality.AUDIO)
    assert (
        encoder.fingerprint
        == build_encoder(allowed.model_copy(update={"weights": str(folder)}), Modality.AUDIO).fingerprint
    )
    torch.save(Malicious(tmp_path / "trace"), folder / "pytorch_model.bin")
    hub.folders["org/evil"] = folder
    with pytest.raises(EncoderError, match="more than tensors"):
        build_encoder(allowed.model_copy(update={"weights": "org/evil"}), Modality.AUDIO)
    assert not (tmp_path / "trace").exists()


def test_an_open_clip_tag_asks_for_safetensors(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip's own loader goes on to ask for the pickle; the tag's mean and resizing are those that it names."""
    import open_clip.pretrained
    from open_clip import add_model_config

    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny-tower.json").write_text(json.dumps(TINY))
    add_model_config(tmp_path / "configs")
    source = {"hf_hub": "org/clip/", "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.5, 0.5), "resize_mode": "squash"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-tower", {"good": source})
    encoder = build_image(TINY, tmp_path)
    encoder.save(tmp_path / "clip")
    hub.folders["org/clip"] = tmp_path / "clip"
    torch.save(Malicious(tmp_path / "trace"), tmp_path / "clip" / "open_clip_pytorch_model.bin")
    options = EncoderOptions(kind="open_clip", model="tiny-tower", weights="good")
    loaded = build_encoder(options, Modality.IMAGE)
    assert hub.weights_asked == {"open_clip_model.safetensors"}
    assert loaded.weights_sha256 == encoder.weights_sha256 and loaded.preprocessing_hash != encoder.preprocessing_hash
    assert loaded.config["preprocess_cfg"]["mean"] == (0.1, 0.2, 0.3)
    assert loaded.config["preprocess_cfg"]["resize_mode"] == "squash"
    named = EncoderOptions(kind="open_clip", weights="org/clip")
    assert build_encoder(named, Modality.IMAGE).fingerprint == encoder.fingerprint

    hub.folders["org/clip2"] = tmp_path / "clip"
    (tmp_path / "clip" / "open_clip_model.safetensors").unlink()
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-tower", {"good": {"hf_hub": "org/clip2/"}})
    hub.asked.clear()
    with pytest.raises(EncoderError, match=r"'org/clip2' has no open_clip_model\.safetensors"):
        build_encoder(options, Modality.IMAGE)
    assert hub.weights_asked == set()
    assert not (tmp_path / "trace").exists()


def test_a_tag_brings_the_activations_that_it_was_trained_with(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ViT-B-32 with OpenAI's weights needs QuickGELU, which open_clip warns of and leaves to the user."""
    import open_clip.pretrained
    from open_clip import add_model_config

    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny-vit.json").write_text(json.dumps(VIT))
    add_model_config(tmp_path / "configs")
    tags = {"openai": {"hf_hub": "org/vit/", "quick_gelu": True}, "laion": {"hf_hub": "org/vit/"}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-vit", tags)
    right = build_image({**VIT, "quick_gelu": True}, tmp_path)
    right.save(tmp_path / "vit")
    hub.folders["org/vit"] = tmp_path / "vit"
    rows = [right.preprocess(picture())]
    loaded = {
        tag: build_encoder(EncoderOptions(kind="open_clip", model="tiny-vit", weights=tag), Modality.IMAGE)
        for tag in tags
    }
    assert torch.equal(loaded["openai"].encode(rows).hidden_states, right.encode(rows).hidden_states)
    assert not torch.allclose(loaded["laion"].encode(rows).hidden_states, right.encode(rows).hidden_states)


def test_a_name_that_the_hub_does_not_know_is_an_error(hub: Hub) -> None:
    """Not a stack trace of an HTTP library."""
    options = EncoderOptions(kind="transformers", weights="org/absent")
    with pytest.raises(EncoderError, match="'org/absent' cannot be had from the hub"):
        build_encoder(options, Modality.IMAGE)
