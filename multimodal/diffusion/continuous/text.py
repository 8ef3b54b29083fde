"""What the two ways of diffusing text through continuous vectors share: how they are trained and sampled from.

A *vector denoiser* is given, for every position, a noisy vector, the estimate of an earlier call (self-conditioning,
Chen et al. 2022) and how noisy the vector is; given text is a clean vector of noise 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal.diffusion.continuous.correctors import Corrector
from multimodal.diffusion.continuous.predictors import Predictor
from multimodal.diffusion.continuous.randomness import Randomness
from multimodal.diffusion.loss import LossOutput, weighted_cross_entropy
from multimodal.diffusion.samplers.base import SamplerOutput, gumbel

VectorDenoiser = Callable[[Tensor, Tensor | None, Tensor, Tensor], Tensor]
"""(vectors [rows, length, size], estimate of that shape or None, noise [rows, length], indices of those rows in the
batch [rows]) -> the network's output [rows, length, ...], see `TextDiffusion.read`."""


@dataclass(frozen=True, slots=True)
class Corrupted:
    """Noisy text.

    Args:
        vectors: float [batch, length, size], as a denoiser reads them.
        noise: float [batch, length], from 0, clean, to 1.
        learnt: bool [batch, length], positions whose tokens are to be predicted.
    """

    vectors: Tensor
    noise: Tensor
    learnt: Tensor


@dataclass(frozen=True, slots=True)
class Reading:
    """What a denoiser's output says.

    Args:
        logits: float [..., vocab] of the clean tokens, -inf at the mask.
        estimate: float [..., size] of the clean vectors.
    """

    logits: Tensor
    estimate: Tensor


@dataclass(frozen=True, slots=True)
class TextSampling:
    """How a text is drawn.

    Args:
        num_steps: calls of the denoiser, those of the corrector not included.
        temperature: 0 takes the likeliest token; above, tokens are drawn from softmax(logits / temperature).
        predictor, corrector, corrector_steps: see `PredictorCorrector`.
        nearest: replace the estimate of each clean vector by the vector of its likeliest token (the clamping trick of
            Diffusion-LM, Li et al. 2022).
        keep_trajectory: record the likeliest tokens after each call.
    """

    num_steps: int
    temperature: float
    predictor: Predictor
    corrector: Corrector | None = None
    corrector_steps: int = 1
    nearest: bool = False
    keep_trajectory: bool = False


class TextDiffusion(ABC):
    """A continuous diffusion of text.

    Args:
        mask_token_id: stands where text is to be written; never written.
    """

    def __init__(self, mask_token_id: int) -> None:
        self.mask_token_id = mask_token_id

    @abstractmethod
    def corrupt(self, x_0: Tensor, t: Tensor, open_positions: Tensor, randomness: Randomness) -> Corrupted:
        """Noise clean text.

        Args:
            x_0: int64 [batch, length].
            t: float [batch], in (0, 1].
            open_positions: bool [batch, length]; the others are given and stay clean.
            randomness: of the rows.
        """

    @abstractmethod
    def read(self, output: Tensor) -> Reading:
        """Logits and estimate of a denoiser's output."""

    @abstractmethod
    def sample(
        self, denoiser: VectorDenoiser, canvas: Tensor, generators: Sequence[torch.Generator], how: TextSampling
    ) -> SamplerOutput:
        """Fill the masks of `canvas`, int64 [batch, length]; every other token stays.

        Args:
            denoiser: gives the network's output for some rows of the canvas.
            canvas: what to start from.
            generators: one per row: a row's text does not depend on the batch that it is in.
            how: it is drawn.
        """

    def loss(self, output: Tensor, x_0: Tensor, weights: Tensor) -> LossOutput:
        """Cross-entropy of the clean tokens.

        Args:
            output: of the denoiser at the learnt positions, [learnt, ...].
            x_0: int64 [learnt].
            weights: float [learnt].
        """
        return weighted_cross_entropy(self.read(output).logits, x_0, weights)

    def guide(self, outputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Classifier-free guidance: the weighted sum of each pass's log-probabilities (Ho and Salimans 2022)."""
        logs = torch.stack([output.log_softmax(-1) for output in outputs])
        return torch.einsum("p,p...->...", torch.tensor(weights, device=logs.device, dtype=logs.dtype), logs)

    def without_mask(self, logits: Tensor) -> Tensor:
        """The same logits in float32, -inf at the mask."""
        return logits.float().index_fill(-1, torch.tensor(self.mask_token_id, device=logits.device), -torch.inf)


def choose_tokens(logits: Tensor, temperature: float, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
    """Tokens, the likeliest or drawn ones, and their probabilities, each [rows, length], of [rows, length, vocab]."""
    probs = logits.softmax(-1)
    if temperature == 0:
        probability, tokens = probs.max(-1)
        return tokens, probability
    noise = gumbel(logits.shape[1:], generators).to(logits.device)
    tokens = (logits.double() / temperature + noise).argmax(-1)
    return tokens, probs.gather(-1, tokens[..., None]).squeeze(-1)
