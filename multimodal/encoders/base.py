"""The one interface of all encoders: bytes in, token-level hidden states with a mask out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from multimodal.errors import EncoderError
from multimodal.sample import Modality
from multimodal.storage import Storage


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


class Encoder(ABC):
    """A frozen encoder of one modality.

    Attributes:
        modality: what it encodes.
        hidden_size: width of `hidden_states`.
        pooled_size: width of `pooled`.
        fingerprint: SHA-256 over architecture, preprocessing, weights and storage, 16 hex digits: the same means the
            same latents.
        storage: how its hidden states are stored.
    """

    modality: Modality
    hidden_size: int
    pooled_size: int
    fingerprint: str
    storage: Storage = Storage.FLOAT16

    @abstractmethod
    def preprocess(self, data: bytes) -> Tensor:
        """One content, decoded and transformed to what `encode` takes.

        Raises:
            MediaError: the bytes cannot be decoded.
        """

    @abstractmethod
    def encode(self, batch: Sequence[Tensor]) -> EncoderOutput:
        """Hidden states of preprocessed contents; a batch of one equals a row of a batch (to float tolerance)."""

    @property
    def has_text_side(self) -> bool:
        """Whether `embed_texts` gives vectors of texts that `pooled` ones can be compared with."""
        return False

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts in the space of `pooled`, normalised, float32 [texts, pooled_size] on the CPU.

        Raises:
            EncoderError: the encoder has no text side.
        """
        raise EncoderError(f"this encoder of {self.modality} has no text side to compare texts with")

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write architecture (JSON) and weights (safetensors): what `build_encoder` loads as `weights`."""


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one."""
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")
