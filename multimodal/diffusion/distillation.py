"""Self-distillation through time (SDTT, Deschenaux & Gulcehre 2024): one step of a student says what several steps of
its teacher say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal.diffusion.loss import LossOutput
from multimodal.diffusion.samplers.base import ranks
from multimodal.diffusion.samplers.posterior import draw

FORBIDDEN = -1e9
"""Logit of the mask token, which no sampler writes: its probability is 0, and 0 times its logarithm is 0 too."""


@dataclass(frozen=True, slots=True)
class SelfDistillation:
    """What a student that writes in `num_steps` steps learns from a teacher that takes `teacher_steps` in each of them.

    An ancestral teacher draws positions and tokens, and says its distributions: the paper's way. On average over its
    draws these say no more than its first call (they are a martingale where they are exact), so that only a divergence
    that seeks modes learns from them which tokens go together. A confident teacher writes what it is surest of, its
    likeliest tokens, as samplers at temperature 0 do, and says what it wrote: the student learns the teacher's own
    text (sequence-level distillation, Kim & Rush 2016; certainty forcing, dParallel, Chen et al. 2025).

    Args:
        mask_token_id: the absorbing state.
        num_steps: of the student, from an empty canvas to a text.
        teacher_steps: of the teacher in each of the student's.
        confident: which of the two the teacher is.
    """

    mask_token_id: int
    num_steps: int
    teacher_steps: int = 2
    confident: bool = True

    def times(self, t: Tensor) -> Tensor:
        """The ends of the student's steps that times in (0, 1] lie in, each of them where a step begins."""
        return (t * self.num_steps - 1e-6).ceil().clamp(min=1) / self.num_steps

    def targets(
        self, teacher: Callable[[Tensor], Tensor], x_t: Tensor, t: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Log-probabilities that the student is to match (Algorithm 1): of each mask what was said by the call that
        opened it, of masks that stay closed what the last call says, of visible tokens what the first says.

        Args:
            teacher: tokens [batch, length] -> logits [batch, length, vocab].
            x_t: int64 [batch, length].
            t: float [batch], where the step begins, see `times`.
            generator: source of randomness, on the CPU.

        Returns:
            float [batch, length, vocab].
        """
        total = (x_t == self.mask_token_id).sum(-1, keepdim=True)
        tokens, targets = x_t, self.log_probs(teacher(x_t))
        for call in range(1, self.teacher_steps + 1):
            masked = tokens == self.mask_token_id
            if call > 1:
                targets = torch.where(masked[..., None], self.log_probs(teacher(tokens)), targets)
            done = call / (self.num_steps * self.teacher_steps * t[:, None])
            tokens = self._opened(tokens, targets, (total * (1 - done) + 1e-4).floor(), generator)
            if self.confident:
                opened = masked & (tokens != self.mask_token_id)
                targets = torch.where(opened[..., None], self._certain(tokens, targets), targets)
        return targets

    def log_probs(self, logits: Tensor) -> Tensor:
        """Log-probabilities of the words, as a sampler reads them."""
        mask = torch.tensor(self.mask_token_id, device=logits.device)
        return logits.float().index_fill(-1, mask, FORBIDDEN).log_softmax(-1)

    def loss(self, student: Tensor, targets: Tensor, weights: Tensor) -> LossOutput:
        """Divergence of what the student says, over chosen positions: of an ancestral teacher the reverse one.

        Args:
            student, targets: float [positions, vocab], log-probabilities.
            weights: float [positions].
        """
        return divergence(student, targets, weights, reverse=not self.confident)

    def _opened(self, tokens: Tensor, log_probs: Tensor, closed: Tensor, generator: torch.Generator) -> Tensor:
        """The canvas with all masks written but `closed` [batch, 1] of each row."""
        masked = tokens == self.mask_token_id
        sureness, words = log_probs.max(-1)
        if not self.confident:
            chance = torch.rand(2, *tokens.shape, generator=generator, dtype=torch.float64).to(tokens.device)
            sureness, words = chance[0], draw(log_probs.exp(), chance[1])
        keep = ranks(-sureness, masked) < closed
        return torch.where(masked & ~keep, words, tokens)

    def _certain(self, tokens: Tensor, like: Tensor) -> Tensor:
        return torch.full_like(like, FORBIDDEN).scatter(-1, tokens[..., None], 0.0)


def divergence(student: Tensor, teacher: Tensor, weights: Tensor, reverse: bool = False) -> LossOutput:
    """Kullback-Leibler divergence of two log-distributions, in nats.

    Args:
        student, teacher: float [positions, vocab], log-probabilities.
        weights: float [positions].
        reverse: KL(student || teacher), which seeks the teacher's modes, instead of KL(teacher || student), which
            covers them.
    """
    p, q = (student, teacher) if reverse else (teacher, student)
    nats = (p.exp() * (p - q)).sum(-1)
    return LossOutput((nats * weights).sum(), weights.sum())
