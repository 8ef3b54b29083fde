"""The one interface of all encoders: bytes in, token-level hidden states with a mask out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multimodal.sample import Modality
from multimodal.storage import Precision, Storage, stored_fingerprint


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """Conditioning latents of a batch.

    Args:
        hidden_states: float32 [batch, tokens, hidden_size].
        attention_mask: bool [batch, tokens], True where a token is real.
        pooled: float32 [batch, pooled_size], one vector per content (nearest neighbours, CLIP score).
        readings: the text that the encoder itself reads off each content, for decoders to edit; empty: it reads none.
    """

    hidden_states: Tensor
    attention_mask: Tensor
    pooled: Tensor
    readings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preparation:
    """`Encoder.preprocess` in two steps that can be sent to other processes, without the encoder's weights.

    Args:
        decode: bytes -> a picture, a wave, a text; raises MediaError where the bytes cannot be decoded.
        transform: what `decode` gave -> what `Encoder.encode` takes; may leave out what `encode` does more cheaply to
            a whole batch.
    """

    decode: Callable[[bytes], Any]
    transform: Callable[[Any], Tensor]


class Encoder(ABC):
    """A frozen encoder of one modality.

    Attributes:
        modality: what it encodes.
        hidden_size: width of `hidden_states`.
        pooled_size: width of `pooled`.
        fingerprint: SHA-256 over architecture, preprocessing, weights and storage, 16 hex digits: the same means the
            same latents.
        storage: how its hidden states are stored.
        precision: what its model computes in when it is called.
    """

    modality: Modality
    hidden_size: int
    pooled_size: int
    fingerprint: str
    storage: Storage = Storage.FLOAT16
    precision: Precision = Precision.FLOAT32
    _bare_fingerprint: str | None = None

    def __call__(self, batch: Sequence[Tensor]) -> EncoderOutput:
        """`encode` in the encoder's precision, without gradients; matrix products only are in bfloat16, if any are."""
        with torch.no_grad(), autocast(self.precision, getattr(self, "device", None)):
            return self.encode(batch)

    def keep(self, storage: Storage, precision: Precision) -> None:
        """Take on how states are stored and computed, and the fingerprint that says so."""
        if self._bare_fingerprint is None:
            self._bare_fingerprint = self.fingerprint
        self.storage, self.precision = storage, precision
        self.fingerprint = stored_fingerprint(self._bare_fingerprint, storage, precision)

    def preparation(self) -> Preparation:
        """`preprocess` for other threads and processes; encoders with large weights give one that holds none."""
        return Preparation(_as_is, self.preprocess)

    @abstractmethod
    def preprocess(self, data: bytes) -> Tensor:
        """One content, decoded and transformed to what `encode` takes.

        Raises:
            MediaError: the bytes cannot be decoded.
        """

    @abstractmethod
    def encode(self, batch: Sequence[Tensor]) -> EncoderOutput:
        """Hidden states of preprocessed contents; a batch of one equals a row of a batch (to float tolerance)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write architecture (JSON) and weights (safetensors): what `build_encoder` loads as `weights`."""


def autocast(precision: Precision, device: torch.device | None) -> torch.autocast:
    """The context in which a model computes in a precision."""
    kind = "cpu" if device is None else device.type
    return torch.autocast(kind, torch.bfloat16, enabled=precision is Precision.BFLOAT16)


def _as_is(data: bytes) -> bytes:
    return data


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one."""
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")
