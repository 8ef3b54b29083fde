"""The types in which hidden states are computed and stored; options and stores share them: nothing heavy is loaded."""

from __future__ import annotations

from enum import StrEnum

from multimodal.fingerprint import digest


class Storage(StrEnum):
    """How one hidden state is stored.

    `float16` keeps 11 significant bits up to 65504; `bfloat16` keeps 8, with the range of float32; `int8` holds 255
    levels and one float32 scale per token, in about half the bytes.
    """

    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


AUTO = "auto"
"""Where an option may be found out by measuring."""


class Precision(StrEnum):
    """What a frozen encoder computes in.

    `bfloat16` is for matrix products and convolutions; weights, sums and norms stay in `float32`.
    """

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def stored_fingerprint(encoder_fingerprint: str, storage: Storage, precision: Precision = Precision.FLOAT32) -> str:
    """The fingerprint of an encoder whose states are computed and stored so, 16 hex digits: the key of their store.

    float16 of float32 leaves it as it is: stores from before there was a choice stay where they are.
    """
    chosen: list[str] = [] if storage is Storage.FLOAT16 else [storage]
    chosen += [] if precision is Precision.FLOAT32 else [f"computed in {precision}"]
    return digest([encoder_fingerprint, *chosen])[:16] if chosen else encoder_fingerprint
