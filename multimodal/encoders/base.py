"""The one interface of all encoders: bytes in, token-level hidden states with a mask out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from multimodal.errors import EncoderError
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
class TokenRate:
    """How many states a content gets.

    Args:
        count: states of one `per`, the last of a content rounded up.
        per: what they are counted by.
        at_most: whether `count` is an upper bound, as where it depends on a picture's shape.
    """

    count: float
    per: Literal["picture", "second", "byte", "token"]
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'at most ' if self.at_most else ''}{self.count:g} per {self.per}"


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """What an encoder states about itself; the latent store's index keeps it as JSON.

    Args:
        hidden_size, pooled_size: widths.
        tokens: such as "50 per second".
        preprocessing: SHA-256 over everything that is done to bytes before the model sees them, 64 hex digits.
        weights: SHA-256 over the names and values of all weights, 64 hex digits, whatever file they came from.
    """

    hidden_size: int
    pooled_size: int
    tokens: str
    preprocessing: str
    weights: str

    def to_json(self) -> dict[str, Any]:
        """The same as a dict."""
        return asdict(self)


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
        tokens: how many states a content gets.
        preprocessing_hash: SHA-256 over the preprocessing, 64 hex digits.
        weights_sha256: SHA-256 over the names and values of all weights, 64 hex digits.
        precision: what its model computes in when it is called.
    """

    modality: Modality
    hidden_size: int
    pooled_size: int
    fingerprint: str
    storage: Storage = Storage.FLOAT16
    tokens: TokenRate | None = None
    preprocessing_hash: str = ""
    weights_sha256: str = ""
    precision: Precision = Precision.FLOAT32
    _bare_fingerprint: str | None = None

    @property
    def card(self) -> EncoderCard:
        """What it states about itself."""
        tokens = "" if self.tokens is None else str(self.tokens)
        return EncoderCard(self.hidden_size, self.pooled_size, tokens, self.preprocessing_hash, self.weights_sha256)

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
        # torch multiplies weights that want no gradients row by row of a batch where inputs are transposed, as in
        # open_clip's attention: ten times slower under autocast. All calls are under no_grad, so that none are made.
        for module in [value for value in vars(self).values() if isinstance(value, nn.Module)]:
            module.requires_grad_(precision is Precision.BFLOAT16)

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


def autocast(precision: Precision, device: torch.device | None) -> torch.autocast:
    """The context in which a model computes in a precision."""
    kind = "cpu" if device is None else device.type
    return torch.autocast(kind, torch.bfloat16, enabled=precision is Precision.BFLOAT16)


def _as_is(data: bytes) -> bytes:
    return data


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one."""
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")
