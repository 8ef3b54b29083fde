"""What every sampler shares: the loop, the proposals, and randomness that does not depend on the batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(tokens [rows, length], indices of those rows in the batch [rows]) -> logits [rows, length, vocab]."""


@dataclass(frozen=True, slots=True)
class SamplerOutput:
    """What a sampler wrote.

    Args:
        tokens: int64 [batch, length], no masks left.
        confidence: float [batch, length]: probability of each token when it was unmasked; 1 for given tokens.
        nfe: int64 [batch]: calls of the denoiser that each row took part in.
        trajectory: the canvas before the first and after each step, each int64 [batch, length]; empty unless asked for.
    """

    tokens: Tensor
    confidence: Tensor
    nfe: Tensor
    trajectory: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the denoiser would write at every position.

    Args:
        tokens: int64 [rows, length].
        probability: float [rows, length], of these tokens.
        probs: float [rows, length, vocab], zero at the mask.
    """

    tokens: Tensor
    probability: Tensor
    probs: Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """A moment of sampling, for the rows that still take part.

    Args:
        index: of the step, from 0.
        last: no call of the denoiser is left after this one.
        tokens: int64 [rows, length], the canvas as the denoiser saw it.
        confidence: float [rows, length], of what is written so far.
        open_positions: bool [rows, length], masked when sampling began.
        revisions: int64 [rows, length], how often a written token was replaced by another one.
        generators: of the rows; None where nothing is drawn.
    """

    index: int
    last: bool
    tokens: Tensor
    confidence: Tensor
    open_positions: Tensor
    revisions: Tensor
    generators: Sequence[torch.Generator] | None


@dataclass(frozen=True, slots=True)
class Sampler(ABC):
    """The loop around the denoiser. A row that is finished leaves the batch.

    Args:
        mask_token_id: the absorbing state; never written.
        num_steps: most calls of the denoiser.
        temperature: 0 takes the likeliest token; above, tokens are drawn from softmax(logits / temperature).
        repeatable: bool [vocab], tokens that may stand beside themselves (the padding).
    """

    mask_token_id: int
    num_steps: int
    temperature: float = 0.0
    repeatable: Tensor | None = None

    draws: ClassVar[bool] = False
    """Needs generators even at temperature 0."""

    corrects: ClassVar[bool] = False
    """Looks at what the denoiser says of tokens that are written, too, not of masks alone."""

    @torch.no_grad()
    def sample(
        self,
        denoiser: Denoiser,
        canvas: Tensor,
        generators: Sequence[torch.Generator] | None = None,
        keep_trajectory: bool = False,
    ) -> SamplerOutput:
        """Fill the masks of `canvas`, int64 [batch, length]; every other token stays.

        Args:
            denoiser: gives logits for some rows of the canvas.
            canvas: what to start from.
            generators: one per row, needed when tokens or positions are drawn: a row's text then does not depend
                on the batch that it is in.
            keep_trajectory: record the canvas after each step.

        Raises:
            ValueError: this sampler draws, and there are no generators.
        """
        if self.draws and generators is None:
            raise ValueError(f"{type(self).__name__} draws at random and needs one generator per row")
        open_positions = canvas == self.mask_token_id
        tokens = self._start(canvas, generators)
        confidence = torch.ones(canvas.shape, device=canvas.device)
        nfe = torch.zeros(len(canvas), dtype=torch.long)
        revisions, moved = torch.zeros_like(tokens), open_positions.any(-1)
        trajectory = [tokens.cpu().clone()] if keep_trajectory else []
        for index in range(self.num_steps):
            rows = self._unfinished(tokens, open_positions, moved).nonzero().squeeze(-1)
            if not len(rows):
                break
            noise = [generators[row] for row in rows.tolist()] if generators else None
            last = index == self.num_steps - 1
            seen = tokens[rows]
            step = Step(index, last, seen, confidence[rows], open_positions[rows], revisions[rows], noise)
            proposal = self._propose(denoiser(seen, rows), noise)
            tokens[rows], confidence[rows] = self._write(step, proposal)
            changed = tokens[rows] != seen
            moved[rows] = changed.any(-1)
            revisions[rows] += changed & (seen != self.mask_token_id)
            nfe[rows.cpu()] += 1
            if keep_trajectory:
                trajectory.append(tokens.cpu().clone())
        return SamplerOutput(tokens, confidence.cpu(), nfe, tuple(trajectory))

    def _start(self, canvas: Tensor, generators: Sequence[torch.Generator] | None) -> Tensor:
        """The canvas that the first call sees."""
        return canvas.clone()

    def _unfinished(self, tokens: Tensor, open_positions: Tensor, moved: Tensor) -> Tensor:
        """bool [batch], rows that take part in the next step; `moved`: the last step changed them."""
        return (tokens == self.mask_token_id).any(-1)

    @abstractmethod
    def _write(self, step: Step, proposal: Proposal) -> tuple[Tensor, Tensor]:
        """The canvas and its confidences after a step, each [rows, length]."""

    def _propose(self, logits: Tensor, generators: Sequence[torch.Generator] | None) -> Proposal:
        mask = torch.tensor(self.mask_token_id, device=logits.device)
        logits = logits.float().index_fill(-1, mask, -torch.inf)
        probs = logits.softmax(-1)
        if self.temperature == 0 or generators is None:
            probability, proposal = probs.max(-1)
            return Proposal(proposal, probability, probs)
        noise = gumbel(logits.shape[1:], generators).to(logits.device)
        proposal = (logits.double() / self.temperature + noise).argmax(-1)
        return Proposal(proposal, probs.gather(-1, proposal[..., None]).squeeze(-1), probs)


def uniform(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """Uniform noise [rows, *shape] in float64, each row from its own generator."""
    return torch.stack([torch.rand(shape, generator=generator, dtype=torch.float64) for generator in generators])


def gumbel(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """Gumbel noise [rows, *shape], each row from its own generator; in float64, since in float32 its clipped tail
    acts like a lower temperature (Zheng et al. 2024)."""
    return -(-(uniform(shape, generators).clamp_min(1e-300)).log()).log()


def ranks(values: Tensor, among: Tensor) -> Tensor:
    """Rank of each value, highest first, int64 [rows, length]; positions outside `among` come last.

    Ties go to the left, so that a row's ranks do not depend on its batch.
    """
    return torch.where(among, values, -torch.inf).argsort(dim=-1, descending=True, stable=True).argsort(-1)
