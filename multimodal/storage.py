"""The types in which hidden states are stored; options and stores share them, so that this file loads nothing heavy."""

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


def stored_fingerprint(encoder_fingerprint: str, storage: Storage) -> str:
    """The fingerprint of an encoder whose states are stored so, 16 hex digits: the key of their store.

    float16 leaves it as it is: stores from before there was a choice stay where they are.
    """
    if storage is Storage.FLOAT16:
        return encoder_fingerprint
    return digest([encoder_fingerprint, storage])[:16]
