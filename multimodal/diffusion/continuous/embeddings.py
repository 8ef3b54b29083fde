"""Gaussian diffusion of token embeddings: noise is added to the vectors of a text, and its tokens are read back.

Two objectives. `CategoricalEmbeddings` predicts tokens by cross-entropy, and the expected embedding gives the score
(CDCD, Dieleman et al. 2022). `RegressedEmbeddings` predicts the clean vectors by squared error and rounds them to
tokens (Diffusion-LM, Li et al. 2022).

Embeddings are learnt with the network. Each has the norm sqrt(size), else cross-entropy would blow them up and squared
error let them collapse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from multimodal.diffusion.continuous.randomness import Randomness, RowRandomness
from multimodal.diffusion.continuous.sampling import PredictorCorrector
from multimodal.diffusion.continuous.sde import SDE, VarianceExploding, VariancePreserving, along
from multimodal.diffusion.continuous.text import (
    Corrupted,
    Reading,
    TextDiffusion,
    TextSampling,
    VectorDenoiser,
    choose_tokens,
)
from multimodal.diffusion.loss import LossOutput
from multimodal.diffusion.samplers.base import SamplerOutput

TEXT_SDES: dict[str, SDE] = {"vp": VariancePreserving(), "ve": VarianceExploding(0.1, 20.0)}
"""The paper's range of sigma is for pixels. Embeddings of unit variance are told apart without error far above 0.01,
and are past telling below 20."""

LEAST_NOISE = 1.0
"""Neither training nor sampling looks at less noise than this, as std over scale: two embeddings of 64 features lie 11
of its standard deviations apart, so there is nothing left to be predicted, and time is spent where there is (CDCD warps
time for that)."""


def time_of_noise(sde: SDE, noise: float) -> float:
    """The time at which std over scale has grown to `noise`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        at = sde.marginal(torch.tensor(middle, dtype=torch.float64))
        low, high = (middle, high) if at.std < noise * at.scale else (low, middle)
    return high


def unit_variance(table: Tensor) -> Tensor:
    """The rows of [vocab, size] with the norm sqrt(size)."""
    scaled: Tensor = functional.normalize(table, dim=-1) * table.shape[-1] ** 0.5
    return scaled


class EmbeddingDiffusion(TextDiffusion):
    """What both objectives share.

    Args:
        mask_token_id: stands where text is to be written.
        table: gives the embeddings [vocab, size] as they are now; they are being learnt.
        sde: the forward process.
    """

    def __init__(self, mask_token_id: int, table: Callable[[], Tensor], sde: SDE) -> None:
        super().__init__(mask_token_id)
        self._table, self.sde = table, sde
        self.end_time = time_of_noise(sde, LEAST_NOISE)

    @property
    def table(self) -> Tensor:
        """Embeddings of unit variance, float32 [vocab, size]."""
        return unit_variance(self._table().float())

    def corrupt(self, x_0: Tensor, t: Tensor, open_positions: Tensor, randomness: Randomness) -> Corrupted:
        """As in `TextDiffusion.corrupt`; times are moved to where there is noise enough."""
        t = self.end_time + (1 - self.end_time) * t
        clean = self.table[x_0]
        return self._seen(self.sde.q_sample(clean, t, randomness.normal(clean)), clean, t, open_positions)

    def sample(
        self, denoiser: VectorDenoiser, canvas: Tensor, generators: Sequence[torch.Generator], how: TextSampling
    ) -> SamplerOutput:
        """As in `TextDiffusion.sample`: predictor and corrector on the vectors, then rounding."""
        course = _Course(self, denoiser, canvas, how)
        randomness = RowRandomness(generators)
        loop = PredictorCorrector(
            self.sde, how.predictor, how.num_steps, how.corrector, how.corrector_steps, self.end_time
        )
        start = loop.prior_sample(course.clean, randomness)
        output = loop.sample(course.score, start, randomness)
        assert course.last is not None
        tokens, probability = choose_tokens(course.last.logits, how.temperature, generators)
        return SamplerOutput(
            torch.where(course.open_positions, tokens, canvas),
            torch.where(course.open_positions, probability, 1.0).cpu(),
            torch.full((len(canvas),), output.nfe),
            tuple(course.trajectory),
        )

    def _seen(self, x_t: Tensor, clean: Tensor, t: Tensor, open_positions: Tensor) -> Corrupted:
        """What a denoiser sees: noisy vectors scaled to unit variance where text is open, clean ones elsewhere."""
        at = self.sde.marginal(t).over(x_t)
        vectors = torch.where(open_positions[..., None], x_t / (at.scale**2 + at.std**2).sqrt(), clean)
        return Corrupted(vectors, torch.where(open_positions, along(t, open_positions), 0.0), open_positions)


class CategoricalEmbeddings(EmbeddingDiffusion):
    """The network's output is logits; the estimate of a clean vector is the expected embedding."""

    def read(self, output: Tensor) -> Reading:
        """As in `TextDiffusion.read`."""
        logits = self.without_mask(output)
        return Reading(logits, logits.softmax(-1) @ self.table)


class RegressedEmbeddings(EmbeddingDiffusion):
    """The network's output is the clean vectors; their inner products with the embeddings are the logits."""

    def read(self, output: Tensor) -> Reading:
        """As in `TextDiffusion.read`."""
        estimate = output.float()
        return Reading(self.without_mask(estimate @ self.table.T), estimate)

    def loss(self, output: Tensor, x_0: Tensor, weights: Tensor) -> LossOutput:
        """Squared error per feature, and the cross-entropy of rounding the estimate.

        Diffusion-LM rounds the clean vectors in its loss. Ours have a fixed norm, so that says little; rounding the
        estimate keeps the embeddings apart as well.
        """
        rounding = super().loss(output, x_0, weights)
        errors = (output.float() - self.table[x_0]).square().mean(-1)
        return LossOutput(rounding.sum + (errors * weights).sum(), rounding.weight)

    def guide(self, outputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """The weighted sum of the passes' vectors."""
        vectors = torch.stack(list(outputs))
        return torch.einsum("p,p...->...", torch.tensor(weights, device=vectors.device, dtype=vectors.dtype), vectors)


class _Course:
    """The score of one batch of texts, and what its denoiser said along the way."""

    def __init__(
        self, diffusion: EmbeddingDiffusion, denoiser: VectorDenoiser, canvas: Tensor, how: TextSampling
    ) -> None:
        self.diffusion, self.denoiser, self.canvas, self.how = diffusion, denoiser, canvas, how
        self.open_positions = canvas == diffusion.mask_token_id
        self.clean = diffusion.table[canvas]
        self.rows = torch.arange(len(canvas), device=canvas.device)
        self.trajectory = [canvas.cpu().clone()] if how.keep_trajectory else []
        self.last: Reading | None = None
        self._time = 1.0
        self._estimate: Tensor | None = None

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """Score of x at time t, [rows, length, size]; 0 where text is given, so that nothing there is weighed by a
        Metropolis rule.

        Calls at one time all see the estimate of the time before, so that a Metropolis rule compares scores of one
        and the same density.
        """
        if self.last is not None and t.item() != self._time:
            self._estimate = self.last.estimate
        self._time = t.item()
        seen = self.diffusion._seen(x, self.clean, t, self.open_positions)
        self.last = self.diffusion.read(self.denoiser(seen.vectors, self._estimate, seen.noise, self.rows))
        likeliest = self.last.logits.argmax(-1)
        if self.how.keep_trajectory:
            self.trajectory.append(torch.where(self.open_positions, likeliest, self.canvas).cpu())
        x_0 = self.diffusion.table[likeliest] if self.how.nearest else self.last.estimate
        return torch.where(self.open_positions[..., None], self.diffusion.sde.score(x, x_0, t), 0.0)
