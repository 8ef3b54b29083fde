"""The text tower of the image encoder."""

import json
from pathlib import Path

import pytest
import torch

from multimodal.encoders import build_encoder
from multimodal.encoders.clip_text import embed_texts
from multimodal.encoders.image import ImageEncoder
from multimodal.encoders.options import EncoderOptions
from multimodal.errors import EncoderError
from multimodal.sample import Modality

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}


def build(config: dict[str, object], folder: Path) -> ImageEncoder:
    (folder / "model.json").write_text(json.dumps(config))
    encoder = build_encoder(EncoderOptions(kind="open_clip", model=str(folder / "model.json")), Modality.IMAGE)
    assert isinstance(encoder, ImageEncoder)
    return encoder


def test_texts_lie_where_pictures_lie(tmp_path: Path) -> None:
    """Unit vectors of the pooled width, by the tower's own method, the same alone; long texts are cut off."""
    encoder = build(MODEL, tmp_path)
    texts = ["a red circle", "a blue square on grass", "word " * 50]
    found = embed_texts(encoder, texts)
    assert found.shape == (3, encoder.pooled_size)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(embed_texts(encoder, texts[1:2])[0], found[1])
    assert not torch.allclose(found[0], found[1])


def test_a_tower_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    """open_clip's tokens would be no rows of its embedding."""
    encoder = build({**MODEL, "text_cfg": {**MODEL["text_cfg"], "vocab_size": 64}}, tmp_path)  # type: ignore[dict-item]
    with pytest.raises(EncoderError, match="no text tower of open_clip's own vocabulary"):
        embed_texts(encoder, ["a red circle"])
