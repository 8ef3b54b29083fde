"""Frozen encoders behind one interface: `build_encoder` makes one from its options.

    base          the interface: bytes in, token-level hidden states with a mask out
    image         open_clip's image towers;  open_clip_models  architectures, tags, weights
    vision        image towers of transformers: SigLIP, DINOv2, DINOv3
    audio         speech and sound: Whisper, wav2vec 2.0 and its kin, CLAP
    towers, clap  what these families do differently;  audio_models  loads them
    windows       long clips cut and joined;  silence  trimmed where asked for
    text          T5 encoders over bytes
    clip_text     open_clip's text towers
    masked_lm     pretrained masked language models, which a decoder may start from
    hub           whether a pretrained name can be had, and its files
    weights       from safetensors, or refused
    stage         the encode stage for one modality: precision, batch size and drift probe, then `encode`
    encode        contents that a store lacks -> shards
    shard         the shard function, for any runner
    preparing     contents decoded and transformed in threads or processes
    pixels        the last steps of a picture's preprocessing, by the batch
    transfer      pinned double buffers
    poison        shards that fail, and the contents that are to blame
    tuning        batch size and precision, by measurement
    probe         stored latents compared with what the encoder gives now
    pretraining   towers from scratch

This module stays light, since the configuration imports the options from here; the work is imported when asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from multimodal.encoders.options import EncoderOptions
from multimodal.errors import EncoderError
from multimodal.sample import Modality
from multimodal.storage import AUTO, Precision

if TYPE_CHECKING:
    from multimodal.encoders.base import Encoder

__all__ = ["build_encoder"]

BUILDERS: dict[Modality, dict[str, str]] = {
    Modality.IMAGE: {"open_clip": "image:build_image_encoder", "transformers": "vision:build_vision_encoder"},
    Modality.AUDIO: dict.fromkeys(("whisper", "wav2vec2", "clap"), "audio:build_audio_encoder"),
    Modality.TEXT: {"bytes": "text:build_text_encoder", "open_clip": "clip_text:build_clip_text_encoder"},
}
"""Modality -> the kinds of encoders for it, and who builds each."""


def build_encoder(options: EncoderOptions, modality: Modality) -> Encoder:
    """The encoder of one modality, its weights loaded and frozen.

    Raises:
        EncoderError: the kind is of another modality, or architecture or weights cannot be had.
    """
    builders = BUILDERS[modality]
    if options.kind not in builders:
        raise EncoderError(f"'{options.kind}' is no {modality} encoder; use {' or '.join(builders)}")
    if (options.weights or "").startswith("models:/"):
        raise EncoderError(f"{options.weights} must be fetched first: run a flow, or use registry.fetch_encoder")
    module, name = builders[options.kind].split(":")
    build = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    encoder: Encoder = build(options)
    # `auto` is settled by the encode stage, which has contents to measure with.
    precision = Precision.FLOAT32 if options.precision == AUTO else Precision(options.precision)
    encoder.keep(options.storage, precision)
    return encoder
