"""The contrastive losses, on numbers that can be worked out, and in training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from multimodal.encoders import build_encoder
from multimodal.encoders.image import ImageEncoder, build_image_encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.pretraining.contrast import contrastive_loss, prepare_loss
from multimodal.encoders.pretraining.image import CaptionedPictures, pretrain_image
from multimodal.encoders.pretraining.options import PretrainOptions
from multimodal.errors import EncoderError
from multimodal.sample import Modality

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}

WHOLE: dict[str, Any] = {"smallest_crop": 1.0, "mirror": False}
"""The same pictures each time, so that a few steps learn them."""


def options(folder: Path, **pretrain: object) -> EncoderOptions:
    (folder / "tiny.json").write_text(json.dumps(TINY))
    how = PretrainOptions.model_validate({"steps": 8, "batch_size": 6, "warmup_steps": 1} | pretrain)
    return EncoderOptions(kind="open_clip", model=str(folder / "tiny.json"), pretrain=how, device="cpu")


def pictures(count: int = 6, **how: Any) -> CaptionedPictures:
    pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return CaptionedPictures(pixels, [[f"picture number {n}"] for n in range(count)], [0.5] * 3, [0.25] * 3, 0, **how)


def unit_rows(seed: int) -> torch.Tensor:
    return functional.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_siglip_is_a_sigmoid_for_each_pair(tmp_path: Path) -> None:
    """Equation 1 of the paper: the rows' mean of -log sigmoid(z (t x.y + b)), from a scale of 10 and a bias of -10."""
    encoder = build_image_encoder(options(tmp_path))
    prepare_loss(encoder, "siglip")
    x, y = (
        functional.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(s)), dim=-1) for s in (0, 1)
    )
    signs = 2 * torch.eye(5) - 1
    expected = -functional.logsigmoid(signs * (10 * x @ y.T - 10)).sum() / 5
    torch.testing.assert_close(contrastive_loss(encoder.model, x, y, "siglip"), expected)


def test_clip_is_a_softmax_in_both_directions(tmp_path: Path) -> None:
    """The mean of both cross-entropies by the model's own scale, 1 / 0.07 at the start."""
    model = build_image_encoder(options(tmp_path)).model
    x, y = (
        functional.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(s)), dim=-1) for s in (0, 1)
    )
    logits, own = x @ y.T / 0.07, torch.arange(5)
    expected = (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(contrastive_loss(model, x, y, "clip"), expected)


def test_siglip_learns_scale_and_bias_and_the_saved_tower_has_them(tmp_path: Path) -> None:
    """Both move from where they start, the loss falls, and the folder loads with its bias by this library and by
    open_clip itself."""
    import open_clip

    fresh: list[float] = []
    losses: list[float] = []
    how = options(tmp_path, contrastive_loss="siglip", steps=1)
    pretrain_image(how, pictures(**WHOLE), log=_noted(fresh))
    how = options(tmp_path, contrastive_loss="siglip", steps=60, learning_rate=3e-3)
    made = pretrain_image(how, pictures(**WHOLE), log=_noted(losses))
    assert losses[-1] < 0.8 * fresh[0]
    bias, scale = float(made.encoder.model.logit_bias), float(made.encoder.model.logit_scale)
    assert bias != -10.0 and scale != pytest.approx(math.log(10), abs=1e-3)
    made.encoder.save(tmp_path / "saved")
    loaded = build_encoder(EncoderOptions(kind="open_clip", weights=str(tmp_path / "saved")), Modality.IMAGE)
    assert isinstance(loaded, ImageEncoder)
    assert loaded.fingerprint == made.encoder.fingerprint and float(loaded.model.logit_bias) == bias
    assert open_clip.create_model(f"local-dir:{tmp_path / 'saved'}").logit_bias.item() == bias


def test_siglip_goes_on_from_a_start_that_has_a_bias(tmp_path: Path) -> None:
    """Scale and bias of the weights are kept; those of a CLIP start are set as the paper does."""
    prepared = build_image_encoder(options(tmp_path))
    prepare_loss(prepared, "siglip")
    with torch.no_grad():
        prepared.model.logit_bias.fill_(-7.0)
    prepare_loss(prepared, "siglip")
    assert float(prepared.model.logit_bias) == -7.0


def test_training_goes_on_from_weights(tmp_path: Path) -> None:
    """The first loss from a trained tower is that of its end, not of a fresh one; without rounding to float16."""
    fresh: list[float] = []
    pretrain_image(options(tmp_path, steps=1), pictures(**WHOLE), log=_noted(fresh))
    first: list[float] = []
    made = pretrain_image(options(tmp_path, steps=60, learning_rate=3e-3), pictures(**WHOLE), log=_noted(first))
    made.encoder.save(tmp_path / "start")
    again: list[float] = []
    how = options(tmp_path, start=str(tmp_path / "start"), steps=1, learning_rate=1e-6)
    gone_on = pretrain_image(how, pictures(**WHOLE), log=_noted(again))
    assert again[0] < (fresh[0] + first[-1]) / 2 and first[-1] < 0.8 * fresh[0]
    weights = gone_on.encoder.model.visual.conv1.weight
    assert not torch.equal(weights.half().float(), weights)


def test_a_tower_without_a_text_tower_of_these_texts_is_refused(tmp_path: Path) -> None:
    """Another vocabulary is no text tower for open_clip's tokens."""
    small = {**TINY, "text_cfg": {**TINY["text_cfg"], "vocab_size": 100}}  # type: ignore[dict-item]
    (tmp_path / "small.json").write_text(json.dumps(small))
    how = options(tmp_path).model_copy(update={"model": str(tmp_path / "small.json")})
    with pytest.raises(EncoderError, match="no text tower"):
        pretrain_image(how, pictures())


def _noted(losses: list[float]):  # type: ignore[no-untyped-def]
    return lambda _, metrics: losses.append(metrics["contrastive"])


def test_pictures_can_be_shown_whole_and_as_they_are() -> None:
    """Without crops and mirror images each visit is the picture itself; with both hardly any is."""
    whole = CaptionedPictures(pictures().pictures, [["a"]] * 6, [0.0] * 3, [1.0] * 3, 0, 1.0, False)
    shown = {tuple((each * 255).round().flatten().int().tolist()) for each in whole.batch(0, 6).pixels}
    assert shown == {tuple(each.flatten().int().tolist()) for each in whole.pictures}
    cut = pictures().batch(0, 6).pixels * 0.25 + 0.5
    assert not any(torch.allclose(row, each.float() / 255, atol=0.01) for row in cut for each in whole.pictures)
