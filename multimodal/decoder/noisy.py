"""How a decoder reads noisy vectors in place of tokens, for continuous diffusion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from multimodal.decoder.config import ContinuousConfig, DecoderConfig

_START = 0.02
"""Factor of the new layers' weights at first: what they add to the states is then as large as an embedding."""


@dataclass(frozen=True, slots=True)
class NoisyText:
    """What a decoder of continuous diffusion reads.

    Args:
        vectors: float [batch, length, size]; size: of the embeddings (gaussian), or of the vocabulary (simplex).
        estimate: of that shape, of the clean vectors by an earlier call; None: there was none.
        noise: float [batch, length], how noisy each vector is, from 0, clean, to 1.
    """

    vectors: Tensor
    estimate: Tensor | None
    noise: Tensor


class NoisyReader(nn.Module, ABC):
    """Turns noisy vectors, an estimate of the clean ones and the noise level into states."""

    def __init__(self, hidden_size: int, estimate_size: int) -> None:
        super().__init__()
        self.noise = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size))
        self.estimate = nn.Linear(estimate_size, hidden_size, bias=False)

    def forward(self, text: NoisyText, embedding: nn.Embedding) -> Tensor:
        """[batch, length, hidden]; `embedding` is that of the decoder's tokens."""
        x: Tensor = self.read(text.vectors, embedding) + self.noise(self._levels(text.noise))
        return x if text.estimate is None else x + self.estimate(self.expected(text.estimate, embedding))

    @abstractmethod
    def read(self, vectors: Tensor, embedding: nn.Embedding) -> Tensor:
        """States [batch, length, hidden] of the vectors alone."""

    @abstractmethod
    def expected(self, estimate: Tensor, embedding: nn.Embedding) -> Tensor:
        """What the layer for the estimate reads, [batch, length, estimate_size]."""

    def initialise(self) -> None:
        """Start small, after the decoder's own initialisation."""
        _shrink(self.noise[-1], self.estimate)

    def _levels(self, noise: Tensor) -> Tensor:
        """Sines and cosines of the noise level, [batch, length, hidden]."""
        size = self.estimate.out_features
        frequencies = 1e3 * 1e4 ** (-torch.arange(0, size, 2, device=noise.device) / size)
        angles = noise[..., None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], -1)


class EmbeddingReader(NoisyReader):
    """Reads noisy embeddings, and holds these embeddings: smaller than those of the decoder's output, since vectors of
    many dimensions are told apart through any noise but the strongest (Li et al. 2022)."""

    def __init__(self, config: DecoderConfig, size: int) -> None:
        super().__init__(config.hidden_size, size)
        self.table = nn.Embedding(config.vocab_size, size)
        self.project = nn.Linear(size, config.hidden_size, bias=False)

    def read(self, vectors: Tensor, embedding: nn.Embedding) -> Tensor:
        """As in `NoisyReader.read`."""
        projected: Tensor = self.project(vectors)
        return projected

    def expected(self, estimate: Tensor, embedding: nn.Embedding) -> Tensor:
        """The estimate itself."""
        return estimate

    def initialise(self) -> None:
        """As in `NoisyReader.initialise`."""
        _shrink(self.noise[-1], self.estimate, self.project)


class SimplexReader(NoisyReader):
    """Reads probabilities of tokens as mixtures of the decoder's embeddings: one-hot ones are tokens."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config.hidden_size, config.hidden_size)

    def read(self, vectors: Tensor, embedding: nn.Embedding) -> Tensor:
        """As in `NoisyReader.read`."""
        return vectors @ embedding.weight

    def expected(self, estimate: Tensor, embedding: nn.Embedding) -> Tensor:
        """The expected embedding."""
        return estimate @ embedding.weight

    def initialise(self) -> None:
        """The estimate is already as small as the embeddings: its weights stay."""
        _shrink(self.noise[-1])


def _shrink(*layers: nn.Module) -> None:
    for layer in layers:
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            layer.weight.mul_(_START)


def build_reader(config: DecoderConfig, continuous: ContinuousConfig) -> NoisyReader:
    """What reads the noisy vectors of a process."""
    if continuous.process == "simplex":
        return SimplexReader(config)
    return EmbeddingReader(config, continuous.embedding_size)
