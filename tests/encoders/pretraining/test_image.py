"""Pretraining of the image tower, and the tower that ships."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from multimodal.encoders import build_encoder
from multimodal.encoders.image import build_image_encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.pretraining.contrast import encode_texts
from multimodal.encoders.pretraining.image import CaptionedPictures, PictureBatch, pretrain_image
from multimodal.encoders.pretraining.options import PretrainOptions
from multimodal.encoders.pretraining.scene_pictures import ScenePictures, cell_weights, probe_scenes, sibling
from multimodal.sample import Modality
from multimodal.synthetic.scenes import HELD_OUT_PAIRS, random_scene
from tests.conftest import ROOT

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 96, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


@pytest.fixture
def options(tmp_path: Path) -> EncoderOptions:
    """A tiny tower, a few steps."""
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    pretrain = PretrainOptions(steps=24, batch_size=24, learning_rate=5e-3, warmup_steps=4)
    return EncoderOptions(kind="open_clip", model=str(tmp_path / "tiny.json"), pretrain=pretrain)


def test_the_shipped_tower_names_shape_colour_size_and_place() -> None:
    """Linear classifiers on the positions are right on at least 95 % of unseen scenes."""
    shipped = EncoderOptions(kind="open_clip", weights=str(ROOT / "data/encoders/image"), downsample=2)
    probe = probe_scenes(build_encoder(shipped, Modality.IMAGE), train=600, test=200)
    assert min(probe.shape, probe.colour, probe.size, probe.place, probe.background) >= 0.95, probe


def test_pretraining_on_scenes_lowers_its_losses(options: EncoderOptions) -> None:
    """Contrast and regions both get better than at the start, and the result is a frozen encoder of that format."""
    losses: list[dict[str, float]] = []

    class Watched(ScenePictures):
        def batch(self, step: int, size: int) -> PictureBatch:
            return super().batch(step % 2, size)  # two batches again and again: a few steps can learn them

    def log(step: int, metrics: object) -> None:
        assert isinstance(metrics, dict)
        losses.append(metrics)

    before = pretrain_image(
        options.model_copy(update={"pretrain": options.pretrain.model_copy(update={"steps": 1})}),
        Watched(6, 0.5, 0.25, 0),
        log=log,
    )
    after = pretrain_image(options, Watched(6, 0.5, 0.25, 0), log=log)
    assert losses[-1]["regions"] < 0.8 * losses[0]["regions"]
    assert after.steps == 24 and after.encoder.hidden_size == before.encoder.hidden_size
    assert after.encoder.fingerprint != before.encoder.fingerprint


def test_pretraining_on_pictures_with_captions(options: EncoderOptions) -> None:
    """Photographs have no regions: contrast and the throwaway captioner train the tower."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (12, 3, 96, 96), generator=generator, dtype=torch.uint8)
    pictures = CaptionedPictures(pixels, [[f"picture number {n}"] for n in range(12)], [0.5] * 3, [0.25] * 3, 0)
    logged: dict[str, float] = {}
    how = options.pretrain.model_copy(update={"steps": 2, "captioning_weight": 1.0})
    result = pretrain_image(
        options.model_copy(update={"pretrain": how}), pictures, log=lambda step, metrics: logged.update(metrics)
    )
    assert result.steps == 2 and {"contrastive", "captions"} <= logged.keys() and "regions" not in logged


def test_batches_depend_on_their_step_alone() -> None:
    """The same step gives the same batch, another step another."""
    first, second = ScenePictures(6, 0.5, 0.25, 0), ScenePictures(6, 0.5, 0.25, 0)
    second.batch(0, 4)
    assert torch.equal(first.batch(3, 4).pixels, second.batch(3, 4).pixels)
    assert first.batch(3, 4).captions != first.batch(4, 4).captions


def test_siblings_differ_in_one_object_and_show_nothing_that_is_held_out() -> None:
    """One object is changed, the others and the background stay."""
    rng = random.Random(0)
    for _ in range(300):
        scene = random_scene(rng)
        other = sibling(scene, rng)
        changed = [a for a, b in zip(scene.objects, other.objects, strict=True) if a != b]
        assert len(changed) == 1 and other.background == scene.background
        assert not {thing.pair for thing in other.objects} & HELD_OUT_PAIRS
        assert len({thing.cell for thing in other.objects}) == len(other.objects)


def test_cells_cover_the_map() -> None:
    """Each position belongs to one cell, and a cell's weights average its positions."""
    weights = cell_weights(6)
    assert weights.shape == (9, 36)
    torch.testing.assert_close(weights.sum(1), torch.ones(9))
    assert ((weights > 0).sum(0) == 1).all()


def test_short_texts_are_encoded_as_open_clip_does(options: EncoderOptions) -> None:
    """Leaving the padding out changes no embedding."""
    import open_clip

    model = build_image_encoder(options).model
    ids = open_clip.tokenizer.tokenize(["a red star", "a large blue circle at the top"], context_length=40)
    with torch.no_grad():
        torch.testing.assert_close(encode_texts(model, ids), model.encode_text(ids), atol=1e-5, rtol=1e-4)
