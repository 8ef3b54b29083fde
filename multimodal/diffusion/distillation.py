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

    Args:
        mask_token_id: the absorbing state.
        num_steps: of the student, from an empty canvas to a text.
        teacher_steps: of the teacher in each of the student's.
        confident: the teacher writes what it is surest of, its likeliest tokens; else it draws positions and tokens,
            which is the reverse process and the paper's way. What is drawn says, on average over the draws, no more
            than the teacher's first call (its predictions are a martingale where they are exact): what a student can
            learn from it is then only which of the draws go together, by a divergence that seeks modes.
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
        """The teacher's log-probabilities (Algorithm 1): of each mask those of the call that opened it, of masks that
        stay closed those of the last call, of visible tokens those of the first.

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
        for call in range(1, self.teacher_steps):
            done = call / (self.num_steps * self.teacher_steps * t[:, None])
            closed = (total * (1 - done) + 1e-4).floor()
            tokens = self._opened(tokens, targets, closed, generator)
            masked = tokens == self.mask_token_id
            targets = torch.where(masked[..., None], self.log_probs(teacher(tokens)), targets)
        return targets

    def log_probs(self, logits: Tensor) -> Tensor:
        """Log-probabilities of the words, as a sampler reads them."""
        mask = torch.tensor(self.mask_token_id, device=logits.device)
        return logits.float().index_fill(-1, mask, FORBIDDEN).log_softmax(-1)

    def _opened(self, tokens: Tensor, log_probs: Tensor, closed: Tensor, generator: torch.Generator) -> Tensor:
        """The canvas with all masks written but `closed` [batch, 1] of each row."""
        masked = tokens == self.mask_token_id
        sureness, words = log_probs.max(-1)
        if not self.confident:
            chance = torch.rand(2, *tokens.shape, generator=generator, dtype=torch.float64).to(tokens.device)
            sureness, words = chance[0], draw(log_probs.exp(), chance[1])
        keep = ranks(-sureness, masked) < closed
        return torch.where(masked & ~keep, words, tokens)


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
