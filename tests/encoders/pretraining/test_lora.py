"""Adapters: the base weights stay, only products of low rank are added, and what is saved is an ordinary tower."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from multimodal.encoders import build_encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.pretraining.audio import pretrain_audio
from multimodal.encoders.pretraining.clips import Clip, to_int16
from multimodal.encoders.pretraining.image import pretrain_image
from multimodal.encoders.pretraining.lora import add_adapters
from multimodal.encoders.pretraining.options import PretrainOptions, TowerLoraOptions
from multimodal.encoders.pretraining.text import pretrain_text
from multimodal.errors import EncoderError
from multimodal.sample import Modality
from tests.encoders.pretraining.test_contrast import TINY, pictures

RANK = 2
RESNET = {**TINY, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32}}
WHISPER = {
    "num_mel_bins": 20, "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
    "dropout": 0.0, "max_source_positions": 60, "pad_to_window": False,
    "extractor": {"feature_size": 20, "hop_length": 320, "n_fft": 400, "chunk_length": 3},
}  # fmt: skip
WAV2VEC2 = {
    "model_type": "wav2vec2", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 64, "conv_dim": [16, 16], "conv_kernel": [10, 3], "conv_stride": [10, 8],
    "num_feat_extract_layers": 2, "feat_extract_norm": "layer", "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "mask_time_length": 2,
    "extractor": {"feature_size": 1, "do_normalize": True, "return_attention_mask": True},
}  # fmt: skip
BYTES = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 384}


def trained(options: EncoderOptions, modality: Modality) -> Any:
    if modality is Modality.IMAGE:
        return pretrain_image(options, pictures()).encoder
    if modality is Modality.AUDIO:
        rng = np.random.default_rng(0)
        waves = [0.1 * rng.standard_normal(4000 + 200 * number, dtype=np.float32) for number in range(6)]
        return pretrain_audio(options, [Clip(to_int16(wave), "la do mi", "") for wave in waves]).encoder

    def source(rng: random.Random) -> tuple[str, str]:
        word = rng.choice(["red circle", "blue star", "green square"])
        return word.replace("e", "", 1), word

    return pretrain_text(options, source).encoder


def state(encoder: Any) -> dict[str, Tensor]:
    model = encoder.tower.model if hasattr(encoder, "tower") else encoder.model
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


CASES = [
    pytest.param("open_clip", Modality.IMAGE, TINY, id="vit"),
    pytest.param("open_clip", Modality.IMAGE, RESNET, id="resnet"),
    pytest.param("whisper", Modality.AUDIO, WHISPER, id="whisper"),
    pytest.param("wav2vec2", Modality.AUDIO, WAV2VEC2, id="wav2vec2"),
    pytest.param("bytes", Modality.TEXT, BYTES, id="bytes"),
]


@pytest.mark.parametrize(("kind", "modality", "config"), CASES)
def test_only_products_of_low_rank_are_added(
    kind: str, modality: Modality, config: dict[str, Any], tmp_path: Path
) -> None:
    """Every matrix of the trained tower is the start's plus one of at most the adapters' rank; norms, biases,
    embeddings, statistics and convolutions beside linear maps are bit for bit the start's; some matrices did move. The
    saved folder is an ordinary encoder of the same fingerprint."""
    (tmp_path / "model.json").write_text(json.dumps(config))
    fresh = build_encoder(EncoderOptions(kind=kind, model=str(tmp_path / "model.json"), device="cpu"), modality)  # type: ignore[arg-type]
    fresh.save(tmp_path / "start")
    how = PretrainOptions(
        start=str(tmp_path / "start"), lora=TowerLoraOptions(rank=RANK), steps=4, batch_size=4, learning_rate=1e-2,
        warmup_steps=1,
    )  # fmt: skip
    adapted = trained(EncoderOptions(kind=kind, pretrain=how, device="cpu"), modality)  # type: ignore[arg-type]
    before, after = state(fresh), state(adapted)
    assert before.keys() == after.keys() - {"logit_bias"}
    moved = {name for name in before if not torch.equal(before[name], after[name])} - {"logit_scale"}
    assert moved
    if modality is Modality.IMAGE:
        assert {name.startswith("visual.") for name in moved} == {True, False}, "both towers are adapted"
    for name in moved:
        change = (after[name] - before[name]).double()
        assert change.dim() in (2, 4) and "embed" not in name, name
        # Low rank up to the float32 rounding of the sum.
        values = torch.linalg.svdvals(change.flatten(1))
        assert values[RANK:].max() < 1e-3 * values[0], name
    adapted.save(tmp_path / "adapted")
    loaded = build_encoder(EncoderOptions(kind=kind, weights=str(tmp_path / "adapted"), device="cpu"), modality)  # type: ignore[arg-type]
    assert loaded.fingerprint == adapted.fingerprint != fresh.fingerprint


def test_adapters_alone_can_be_trained(tmp_path: Path) -> None:
    """Nothing of the tower's own asks for a gradient, and each adapter gets one."""
    (tmp_path / "model.json").write_text(json.dumps(TINY))
    options = EncoderOptions(kind="open_clip", model=str(tmp_path / "model.json"), device="cpu")
    model = build_encoder(options, Modality.IMAGE).model  # type: ignore[attr-defined]
    add_adapters(model.requires_grad_(True), TowerLoraOptions(rank=RANK))
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert names and all(".lora_" in name for name in names)
    model(torch.zeros(1, 3, 32, 32), torch.tensor([[49406, 320, 49407] + [0] * 13]))[0].sum().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None and "visual" in name}
    assert reached == {name for name in names if "visual" in name}


def test_targets_that_are_not_there_are_refused(tmp_path: Path) -> None:
    """With their names."""
    (tmp_path / "model.json").write_text(json.dumps(TINY))
    options = EncoderOptions(kind="open_clip", model=str(tmp_path / "model.json"), device="cpu")
    model = build_encoder(options, Modality.IMAGE).model  # type: ignore[attr-defined]
    with pytest.raises(EncoderError, match="nowhere"):
        add_adapters(model, TowerLoraOptions(targets=("nowhere",)))


def test_adapters_need_weights_to_adapt() -> None:
    """Random weights are not worth keeping."""
    with pytest.raises(ValidationError, match="start"):
        PretrainOptions(lora=TowerLoraOptions())
