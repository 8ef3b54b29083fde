"""What every discrete process shares: all of them keep, mask or replace each token independently.

With keep + masked + replaced = 1, every marginal here has the form of VQ-Diffusion's mask-and-replace (Gu et al.
2022), which is also GIDD's x_t ~ alpha x_0 + beta pi_t (von Rütte et al. 2025):

    q(x_t | x_0) = keep * [x_t = x_0] + noise(x_t),   noise = masked at the mask, replaced / words at each word

A denoiser's `x_0_probs` say which token belongs to a position given what stands at the *other* positions; what the
position itself shows is weighed in here, by Bayes' rule. That is the parametrisation of D3PM (Austin et al. 2021,
equation 4), UDLM and GIDD. For a mask both mean the same, since it tells nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal.diffusion.loss import LossOutput
from multimodal.diffusion.schedule import LinearSchedule, Schedule

TINY = 1e-30
"""Stands for zero where it is divided by."""


@dataclass(frozen=True, slots=True)
class Marginal:
    """What becomes of a token by time t, or how fast that changes; each of the shape of `t`.

    Args:
        keep: probability that it is as it was.
        masked: that it is the mask.
        replaced: that it was drawn anew from all words, itself included.
    """

    keep: Tensor
    masked: Tensor
    replaced: Tensor

    def unsqueeze(self) -> Marginal:
        """One more axis at the end of each."""
        return Marginal(self.keep[..., None], self.masked[..., None], self.replaced[..., None])


@dataclass(frozen=True, slots=True)
class Marginals:
    """A process's marginal and its derivative in t."""

    value: Marginal
    derivative: Marginal


class Process(ABC):
    """A discrete diffusion process over tokens.

    Args:
        mask_token_id: no word: it is neither in clean text nor drawn as a replacement.
        vocab_size: token ids, the mask among them.
        schedule: alpha(t).
    """

    def __init__(self, mask_token_id: int, vocab_size: int, schedule: Schedule | None = None) -> None:
        self.mask_token_id = mask_token_id
        self.vocab_size = vocab_size
        self.schedule = schedule or LinearSchedule()

    @abstractmethod
    def marginals(self, t: Tensor) -> Marginals:
        """What q(x_t | x_0) does to a token, at times of any shape."""

    @abstractmethod
    def scored(self, x_t: Tensor, open_positions: Tensor) -> Tensor:
        """Positions that the loss looks at, bool [batch, length]."""

    @abstractmethod
    def loss(self, logits: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, weights: Tensor) -> LossOutput:
        """What a denoiser is trained by, over scored positions.

        Args:
            logits: float [positions, vocab].
            x_0, x_t: int64 [positions].
            t: float [positions].
            weights: float [positions].
        """

    def prior_sample(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """x_1, int64 of `shape`: nothing of x_0 is left at t = 1."""
        return self.q_sample(torch.full(shape, self.mask_token_id), torch.ones(shape[0]), generator)

    def q_sample(
        self, x_0: Tensor, t: Tensor, generator: torch.Generator, open_positions: Tensor | None = None
    ) -> Tensor:
        """x_t ~ q(x_t | x_0), each open position by itself.

        Args:
            x_0: int64 [batch, length].
            t: float [batch].
            generator: source of randomness, on the CPU.
            open_positions: bool [batch, length]; the others stay as they are. None: all are open.
        """
        marginal = self.marginals(t).value.unsqueeze()
        noised = torch.rand(x_0.shape, generator=generator).to(x_0.device) >= marginal.keep
        if open_positions is not None:
            noised &= open_positions
        noise = torch.full_like(x_0, self.mask_token_id)
        if marginal.replaced.any():
            share_masked = marginal.masked / (marginal.masked + marginal.replaced)
            replaced = torch.rand(x_0.shape, generator=generator).to(x_0.device) >= share_masked
            noise = torch.where(replaced, self.draw_words(x_0.shape, generator).to(x_0.device), noise)
        return torch.where(noised, noise, x_0)

    def draw_words(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Words drawn uniformly, int64 of `shape`."""
        words = torch.randint(self.vocab_size - 1, shape, generator=generator)
        return words + (words >= self.mask_token_id)

    def posterior(self, x_t: Tensor, x_0_probs: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """p(x_s | x_t) for s < t: Bayes' rule with q(x_t | x_s) and p(x_s) = sum over x_0 of q(x_s | x_0) x_0_probs.

        Args:
            x_t: int64 [batch, length].
            x_0_probs: float [batch, length, vocab], zero at the mask.
            t, s: float [batch]; s = 0 gives p(x_0 | x_t).

        Returns:
            float [batch, length, vocab].
        """
        at_t, at_s = (self.marginals(time[:, None]).value for time in (t, s))
        keep = at_t.keep / at_s.keep  # from s to t
        noise = (self._noise_at(x_t, at_t) - keep * self._noise_at(x_t, at_s)).clamp(min=0)[..., None]
        prior = (at_s.keep[..., None] * x_0_probs + self._noise(at_s).to(x_0_probs)).clamp(min=TINY)
        here = torch.nn.functional.one_hot(x_t, self.vocab_size)
        joint = (keep[..., None] * here + noise) * prior
        return joint / joint.sum(-1, keepdim=True)

    def likelihood_bound(self, logits: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Continuous-time negative ELBO of each position, in nats, one draw of (t, x_t) (GIDD): KL and
        Itakura-Saito divergence of q(x_t | x_0) from the same with the prediction for x_0, weighted by how fast
        tokens turn into what stands there. For the absorbing process this is MDLM's cross-entropy of masked tokens
        times -alpha' / (1 - alpha), for the uniform one UDLM's bound.

        Args:
            logits: float [positions, vocab].
            x_0, x_t: int64 [positions].
            t: float [positions], within (0, 1).

        Returns:
            float64 [positions], 0 where nothing is scored; summed over a text's positions and averaged over t and x_t
            it is at least -log p(x_0), and equal to it for a denoiser that is exact.
        """
        marginals = self.marginals(t.double())
        value = marginals.value
        logits = logits.double().index_fill(-1, torch.tensor(self.mask_token_id, device=logits.device), -torch.inf)
        keep, noise = value.keep[..., None], self._noise(value)
        true = keep * torch.nn.functional.one_hot(x_0, self.vocab_size) + noise
        predicted = (keep * logits.softmax(-1) + noise).clamp(min=TINY)
        divergence = (torch.xlogy(true, true) - torch.xlogy(true, predicted)).sum(-1)
        seen = x_t[..., None]
        ratio = (true.gather(-1, seen) / predicted.gather(-1, seen)).squeeze(-1).clamp(min=TINY)
        rate = self._noise_at(x_t, marginals.derivative)
        rate = rate - marginals.derivative.keep / value.keep * self._noise_at(x_t, value)
        chance = true.gather(-1, seen).squeeze(-1).clamp(min=TINY)
        return rate / chance * (divergence + ratio - ratio.log() - 1)

    def _noise(self, marginal: Marginal) -> Tensor:
        """noise(x_t), [..., vocab]."""
        words = (marginal.replaced / (self.vocab_size - 1))[..., None].expand(*marginal.replaced.shape, self.vocab_size)
        return torch.cat(
            [words[..., : self.mask_token_id], marginal.masked[..., None], words[..., self.mask_token_id + 1 :]], -1
        )

    def _noise_at(self, x_t: Tensor, marginal: Marginal) -> Tensor:
        """noise(x_t) of the tokens that stand there, [batch, length]."""
        return torch.where(x_t == self.mask_token_id, marginal.masked, marginal.replaced / (self.vocab_size - 1))
