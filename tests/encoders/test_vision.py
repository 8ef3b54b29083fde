"""Image towers of transformers: what its own processors and models give, patch by patch."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

from multimodal.encoders import build_encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.vision import VisionEncoder
from multimodal.errors import EncoderError, MediaError
from multimodal.sample import Modality

SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
BICUBIC, LANCZOS = 3, 1


def _siglip() -> tuple[Any, Any]:
    config = transformers.SiglipVisionConfig(**SIZES, image_size=32, patch_size=8)
    processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32}, resample=BICUBIC)
    return transformers.SiglipVisionModel(config), processor


def _whole_siglip() -> tuple[Any, Any]:
    text = {**SIZES, "vocab_size": 40, "max_position_embeddings": 8}
    vision = {**SIZES, "image_size": 32, "patch_size": 8}
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    return transformers.SiglipModel(config), _siglip()[1]


def _siglip2() -> tuple[Any, Any]:
    config = transformers.Siglip2VisionConfig(**SIZES, num_patches=16, patch_size=8)
    return transformers.Siglip2VisionModel(config), transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=20)


def _dinov2() -> tuple[Any, Any]:
    config = transformers.Dinov2Config(**SIZES, image_size=32, patch_size=8)
    processor = transformers.BitImageProcessor(
        size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}, resample=BICUBIC,
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
    )  # fmt: skip
    return transformers.Dinov2Model(config), processor


def _registers() -> tuple[Any, Any]:
    config = transformers.Dinov2WithRegistersConfig(**SIZES, image_size=32, patch_size=8, num_register_tokens=4)
    return transformers.Dinov2WithRegistersModel(config), _dinov2()[1]


def _dinov3() -> tuple[Any, Any]:
    config = transformers.DINOv3ViTConfig(**SIZES, image_size=32, patch_size=8, num_register_tokens=4)
    processor = transformers.DINOv3ViTImageProcessor(size={"height": 32, "width": 48}, resample=LANCZOS)
    return transformers.DINOv3ViTModel(config), processor


def _convnext() -> tuple[Any, Any]:
    config = transformers.DINOv3ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
    processor = transformers.DINOv3ViTImageProcessor(size={"height": 96, "width": 64})
    return transformers.DINOv3ConvNextModel(config), processor


MODELS = {
    "siglip": (_siglip, 0),
    "whole siglip": (_whole_siglip, 0),
    "siglip2": (_siglip2, 0),
    "dinov2": (_dinov2, 1),
    "dinov2 with registers": (_registers, 5),
    "dinov3": (_dinov3, 5),
    "dinov3 convnext": (_convnext, 1),
}
"""How each is made, and how many of its states are no patches."""


def picture(seed: int = 0, size: tuple[int, int] = (70, 50)) -> bytes:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (5, 7, 3), generator=generator, dtype=torch.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).resize(size, Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def saved(name: str, folder: Path) -> Path:
    """A folder as transformers writes it, with weights that are not all small."""
    torch.manual_seed(2)
    model, processor = MODELS[name][0]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def build(folder: Path, **values: Any) -> VisionEncoder:
    options = EncoderOptions(kind="transformers", weights=str(folder), device="cpu", **values)
    encoder = build_encoder(options, Modality.IMAGE)
    assert isinstance(encoder, VisionEncoder)
    return encoder


@pytest.mark.parametrize("name", MODELS)
def test_states_and_vectors_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    """Processor and model, loaded and run by transformers alone, give the same patches and the same direction."""
    folder = saved(name, tmp_path / "model")
    encoder = build(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    model = getattr(model, "vision_model", model)
    for data in (picture(0), picture(1, (40, 90))):
        inputs = processor(images=Image.open(io.BytesIO(data)), return_tensors="pt")
        with torch.no_grad():
            reference = model(**inputs)
        patches = reference.last_hidden_state[0, MODELS[name][1] :]
        if "pixel_attention_mask" in inputs:
            patches = patches[inputs["pixel_attention_mask"][0].bool()]
        else:
            assert torch.equal(encoder.preprocess(data), inputs["pixel_values"][0])
        output = encoder.encode([encoder.preprocess(data)])
        torch.testing.assert_close(output.hidden_states[0], patches, atol=1e-5, rtol=1e-4)
        direction = reference.pooler_output[0] / reference.pooler_output[0].norm()
        torch.testing.assert_close(output.pooled[0], direction, atol=1e-5, rtol=1e-4)
    assert encoder.hidden_size == patches.shape[1] and encoder.pooled_size == len(direction)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_of_a_batch_equals_it_alone(tmp_path: Path, name: str) -> None:
    """Also where the pictures of a batch differ in shape, and after saving, which leaves JSON and safetensors only."""
    encoder = build(saved(name, tmp_path / "model"), downsample=2)
    encoder.save(tmp_path / "again")
    assert {path.suffix for path in (tmp_path / "again").iterdir()} == {".json", ".safetensors"}
    loaded = build(tmp_path / "again", downsample=2)
    assert loaded.fingerprint == encoder.fingerprint and loaded.card == encoder.card
    rows = [encoder.preprocess(picture(seed, size)) for seed, size in enumerate([(70, 50), (30, 80), (64, 64)])]
    together = encoder.encode(rows)
    for number, row in enumerate(rows):
        alone = loaded.encode([row])
        real = together.attention_mask[number]
        assert int(real.sum()) == alone.hidden_states.shape[1]
        assert not together.hidden_states[number][~real].any()
        torch.testing.assert_close(together.hidden_states[number][real], alone.hidden_states[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.pooled[number], alone.pooled[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "downsample", "tokens"),
    [
        ("siglip", 1, "16 per picture"),
        ("dinov2", 2, "4 per picture"),
        ("dinov3", 1, "24 per picture"),
        ("dinov3", 4, "2 per picture"),
        ("dinov3 convnext", 1, "6 per picture"),
        ("siglip2", 1, "at most 20 per picture"),
    ],
)
def test_it_says_how_many_tokens_a_picture_has(tmp_path: Path, name: str, downsample: int, tokens: str) -> None:
    """And a picture has as many."""
    encoder = build(saved(name, tmp_path), downsample=downsample)
    assert str(encoder.tokens) == tokens
    count = encoder.encode([encoder.preprocess(picture())]).hidden_states.shape[1]
    assert count <= encoder.tokens.count if encoder.tokens.at_most else count == encoder.tokens.count


def test_downsampling_averages_squares(tmp_path: Path) -> None:
    """The first of four states is the mean of the patches of the top left quarter."""
    folder = saved("dinov2", tmp_path)
    fine, coarse = build(folder), build(folder, downsample=2)
    rows = [fine.preprocess(picture())]
    states, averaged = fine.encode(rows).hidden_states[0], coarse.encode(rows).hidden_states[0]
    torch.testing.assert_close(averaged[0], states[[0, 1, 4, 5]].mean(0))
    torch.testing.assert_close(averaged[1], states[[2, 3, 6, 7]].mean(0))
    assert fine.fingerprint != coarse.fingerprint
    assert fine.preprocessing_hash == coarse.preprocessing_hash and fine.weights_sha256 == coarse.weights_sha256


@pytest.mark.parametrize(("key", "value"), [("resample", 2), ("image_mean", [0.1, 0.2, 0.3])])
def test_what_the_processor_says_is_done_and_hashed(tmp_path: Path, key: str, value: Any) -> None:
    """Another resampling or mean gives other pixels, another preprocessing hash and another encoder; same weights."""
    before = build(saved("siglip", tmp_path))
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    after = build(tmp_path)
    assert not torch.equal(before.preprocess(picture()), after.preprocess(picture()))
    assert before.preprocessing_hash != after.preprocessing_hash and before.fingerprint != after.fingerprint
    assert before.weights_sha256 == after.weights_sha256


def test_what_cannot_be_used_is_refused_with_a_cure(tmp_path: Path) -> None:
    """Another type of model, pictures left in their sizes, a broken picture, no pooled vector, and no weights named."""
    with pytest.raises(ValueError, match="kind transformers is not pretrained here; set `weights`"):
        EncoderOptions(kind="transformers")
    with pytest.raises(EncoderError, match=r"image encoder: .*absent has no config\.json"):
        build(tmp_path / "absent")
    folder = saved("siglip", tmp_path / "siglip")
    with pytest.raises(MediaError):
        build(folder).preprocess(b"no picture")
    transformers.SiglipImageProcessor(do_resize=False).save_pretrained(folder)
    with pytest.raises(EncoderError, match="set do_resize or do_center_crop"):
        build(folder)
    config = transformers.ViTConfig(**SIZES, image_size=32, patch_size=8)
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    _siglip()[1].save_pretrained(tmp_path / "vit")
    with pytest.raises(EncoderError, match="is a vit model; kind transformers knows dinov2, "):
        build(tmp_path / "vit")
    headless = transformers.SiglipVisionConfig(**SIZES, image_size=32, patch_size=8, vision_use_head=False)
    transformers.SiglipVisionModel(headless).save_pretrained(tmp_path / "headless")
    _siglip()[1].save_pretrained(tmp_path / "headless")
    with pytest.raises(EncoderError, match="no pooled vector"):
        build(tmp_path / "headless")
