"""Frozen encoders behind one interface: `build_encoder` makes one from its options.

    base          the interface: bytes in, token-level hidden states with a mask out
    image         open_clip towers
clip_text     their text towers
    audio         Whisper and wav2vec 2.0 encoders
    text          T5 encoders over bytes
    masked_lm     pretrained masked language models, which a decoder may start from
    hub           whether a pretrained name can be had
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
    module, name = builder.split(":")
    build = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    encoder: Encoder = build(options)
    # `auto` is settled by the encode stage, which has contents to measure with.
    precision = Precision.FLOAT32 if options.precision == AUTO else Precision(options.precision)
    encoder.keep(options.storage, precision)
    return encoder
