"""Frozen encoders behind one interface: `build_encoder` makes one from its options.

    base          the interface: bytes in, token-level hidden states with a mask out
    image         open_clip towers
clip_text     their text towers
    audio         Whisper and wav2vec 2.0 encoders
    text          T5 encoders over bytes
    masked_lm     pretrained masked language models, which a decoder may start from
    hub           whether a pretrained name can be had
    encode        the encode stage for one modality
    pretraining   towers from scratch

This module stays light, since the configuration imports the options from here; the work is imported when asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from multimodal.encoders.options import EncoderOptions
from multimodal.errors import EncoderError
from multimodal.sample import Modality
from multimodal.storage import stored_fingerprint

if TYPE_CHECKING:
    from multimodal.encoders.base import Encoder

__all__ = ["build_encoder"]

BUILDERS: dict[Modality, tuple[tuple[str, ...], str]] = {
    Modality.IMAGE: (("open_clip",), "image:build_image_encoder"),
    Modality.AUDIO: (("whisper", "wav2vec2"), "audio:build_audio_encoder"),
    Modality.TEXT: (("bytes",), "text:build_text_encoder"),
}
"""Modality -> the kinds of encoders for it, and who builds them."""


def build_encoder(options: EncoderOptions, modality: Modality) -> Encoder:
    """The encoder of one modality, its weights loaded and frozen.

    Raises:
        EncoderError: the kind is of another modality, or architecture or weights cannot be had.
    """
    kinds, builder = BUILDERS[modality]
    if options.kind not in kinds:
        raise EncoderError(f"'{options.kind}' is no {modality} encoder; use {' or '.join(kinds)}")
    if (options.weights or "").startswith("models:/"):
        raise EncoderError(f"{options.weights} must be fetched first: run a flow, or use registry.fetch_encoder")
    module, name = builder.split(":")
    build = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    encoder: Encoder = build(options)
    encoder.storage = options.storage
    encoder.fingerprint = stored_fingerprint(encoder.fingerprint, options.storage)
    return encoder
