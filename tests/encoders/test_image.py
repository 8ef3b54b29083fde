"""The image encoder."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from multimodal.encoders import build_encoder
from multimodal.encoders.image import ImageEncoder
from multimodal.encoders.open_clip_models import CONFIG
from multimodal.encoders.options import EncoderOptions
from multimodal.errors import EncoderError, MediaError
from multimodal.sample import Modality

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}
VIT = {**TINY, "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 4}}
TIMM = {**TINY, "vision_cfg": {"image_size": 64, "timm_model_name": "test_convnext", "timm_pool": "avg"}}


def picture(seed: int = 0, kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, kind)
    return buffer.getvalue()


def build(config: dict[str, object], folder: Path) -> ImageEncoder:
    (folder / "model.json").write_text(json.dumps(config))
    encoder = build_encoder(EncoderOptions(kind="open_clip", model=str(folder / "model.json")), Modality.IMAGE)
    assert isinstance(encoder, ImageEncoder)
    return encoder


@pytest.mark.parametrize("config", [TINY, VIT, TIMM], ids=["resnet", "vit", "timm"])
def test_a_row_of_a_batch_equals_it_alone(config: dict[str, object], tmp_path: Path) -> None:
    """Any open_clip tower gives token states with a mask, and rows do not see each other."""
    encoder = build(config, tmp_path)
    pictures = [encoder.preprocess(picture(seed)) for seed in range(3)]
    together, alone = encoder.encode(pictures), encoder.encode(pictures[1:2])
    assert together.hidden_states.shape[0] == 3 and together.hidden_states.shape[2] == encoder.hidden_size
    assert together.attention_mask.all() and together.attention_mask.shape == together.hidden_states.shape[:2]
    torch.testing.assert_close(alone.hidden_states[0], together.hidden_states[1], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(together.pooled.norm(dim=-1), torch.ones(3))


def test_positions_are_where_the_picture_is(tmp_path: Path) -> None:
    """Changing the top left corner of a picture changes the first position most."""
    encoder = build(VIT, tmp_path)
    first = encoder.preprocess(picture())
    second = first.clone()
    second[:, :4, :4] = 3.0
    states = encoder.encode([first, second]).hidden_states
    assert (states[0] - states[1]).norm(dim=-1).argmax() == 0


def test_saved_and_loaded_it_is_the_same_encoder(tmp_path: Path) -> None:
    """Fingerprint and states survive; the folder holds JSON and safetensors only."""
    encoder = build(TINY, tmp_path)
    encoder.save(tmp_path / "saved")
    loaded = build_encoder(EncoderOptions(kind="open_clip", weights=str(tmp_path / "saved")), Modality.IMAGE)
    pixels = [encoder.preprocess(picture())]
    assert loaded.fingerprint == encoder.fingerprint
    assert torch.equal(loaded.encode(pixels).hidden_states, encoder.encode(pixels).hidden_states)
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} == {".json", ".safetensors"}


def test_fingerprint_tells_weights_apart(tmp_path: Path) -> None:
    """One changed weight is another encoder."""
    encoder = build(TINY, tmp_path)
    with torch.no_grad():
        encoder.model.visual.conv1.weight[0, 0, 0, 0] += 1
    changed = ImageEncoder(encoder.model, encoder.config, encoder._preprocess)
    assert changed.fingerprint != encoder.fingerprint


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "wrong_format"),
        (b"no picture", "wrong_format"),
        (picture()[:200], "truncated_image"),
        (picture(kind="JPEG")[:300], "truncated_image"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    """Typed for the ledger, never a stack of Pillow's."""
    with pytest.raises(MediaError) as refused:
        build(TINY, tmp_path).preprocess(data)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "needs `model`"),
        ({"weights": "laion2b_s34b_b79k"}, "needs `model`"),
        ({"model": "No-Such-Model"}, "no model 'No-Such-Model'"),
        ({"model": "absent.json"}, "no image architecture at absent.json"),
        ({"model": "ViT-B-32", "weights": "no-such-tag"}, "no pretrained weights 'no-such-tag'; it has: "),
        ({"weights": "./absent"}, "no image encoder at absent"),
    ],
)
def test_wrong_options_say_what_is_wrong(options: dict[str, str], problem: str) -> None:
    """With the value and what would do."""
    with pytest.raises(EncoderError, match=problem):
        build_encoder(EncoderOptions(kind="open_clip", **options), Modality.IMAGE)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    """A .pt file is not even opened."""
    (tmp_path / "weights.pt").write_bytes(b"whatever")
    options = EncoderOptions(kind="open_clip", model="ViT-B-32", weights=str(tmp_path / "weights.pt"))
    with pytest.raises(EncoderError, match="not safetensors"):
        build_encoder(options, Modality.IMAGE)


def test_an_unreachable_name_fails_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """In under five seconds, with the cure."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://127.0.0.1:9")
    options = EncoderOptions(kind="open_clip", model="ViT-B-32", weights="laion2b_s34b_b79k")
    started = time.monotonic()
    with pytest.raises(EncoderError, match="data/encoders/image"):
        build_encoder(options, Modality.IMAGE)
    assert time.monotonic() - started < 5


def test_config_is_open_clips_own(tmp_path: Path) -> None:
    """open_clip itself reads the saved folder."""
    import open_clip

    encoder = build({"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}, tmp_path)
    encoder.save(tmp_path / "saved")
    assert (tmp_path / "saved" / CONFIG).is_file()
    model = open_clip.create_model(f"local-dir:{tmp_path / 'saved'}").eval()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, encoder.model.state_dict()[name])
