"""What the tests of package, prediction, registry and serving are made of: a small real model, media, a workspace."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.encoders import build_encoder
from multimodal.encoders.base import Encoder
from multimodal.encoders.options import EncodeOptions, EncoderOptions
from multimodal.generation import write_model
from multimodal.sample import Modality, Task
from multimodal.tokenizer import TextTokenizer
from multimodal.tracking import DATABASE, LOCK


def copy_workspace(made_once: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a copy of the empty database, and no tracking server configured."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder.mkdir()
    for name in (DATABASE, LOCK):
        shutil.copy(made_once / name, folder / name)
    return folder


def small_encoders(folder: Path) -> EncodeOptions:
    """Options of one very small encoder per modality, fresh with random weights."""
    models = {
        "image": {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1},
            "text_cfg": {"context_length": 16, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
        },
        "audio": {
            "num_mel_bins": 80, "d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64, "max_source_positions": 240, "pad_to_window": False,
            "extractor": {"feature_size": 80, "hop_length": 200, "n_fft": 400, "chunk_length": 6},
        },
        "text": {"vocab_size": 384, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2},
    }  # fmt: skip
    for name, values in models.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return EncodeOptions(
        image=EncoderOptions(kind="open_clip", model=str(folder / "image.json"), device="cpu"),
        audio=EncoderOptions(kind="whisper", model=str(folder / "audio.json"), downsample=2, device="cpu"),
        text=EncoderOptions(kind="bytes", model=str(folder / "text.json"), device="cpu"),
    )


def load_all_encoders(folder: Path) -> tuple[EncodeOptions, dict[Modality, Encoder]]:
    """`small_encoders`, built."""
    encode = small_encoders(folder)
    return encode, {modality: build_encoder(encode.of(modality), modality) for modality in Modality}


def small_checkpoint(folder: Path, latent_sizes: dict[str, int], seed: int = 0, **shape: Any) -> Path:
    """A checkpoint of all tasks with random weights, as training leaves it."""
    folder.mkdir()
    tokenizer = TextTokenizer.train(["a small red circle above a large blue square"] * 3, vocab_size=300)
    config = DecoderConfig(
        vocab_size=tokenizer.vocab_size,
        max_tokens=48,
        latent_sizes={str(modality): size for modality, size in latent_sizes.items()},
        tasks=tuple(str(task) for task in Task),
        styles=("formal", "informal"),
        hidden_size=32,
        num_layers=1,
        num_heads=2,
        **shape,
    )
    torch.manual_seed(seed)
    canvas = {str(task): 10 for task in Task}
    values = {"decoder": config.to_dict(), "canvas": canvas, "step": 1}
    write_model(folder, CrossAttentionDecoder(config).state_dict(), values, tokenizer)
    (folder / "training").mkdir()
    (folder / "training" / "progress.json").write_text("{}")
    return folder


def picture(colour: str) -> bytes:
    """A PNG of one colour with a white corner."""
    image = Image.new("RGB", (40, 40), colour)
    image.paste("white", (0, 0, 10, 10))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def sound(seconds: float, pitch: float = 440.0) -> bytes:
    """A WAV of a tone, 16 kHz."""
    wave = np.sin(2 * np.pi * pitch * np.arange(int(16_000 * seconds)) / 16_000)
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.5 * wave, 16_000, format="WAV")
    return buffer.getvalue()
