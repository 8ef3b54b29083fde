"""Gaps whose length is chosen first: some lengths are tried side by side, and the likeliest filling is kept.

A gap's slots hold its filling and then padding, so that one look at the empty gap tells how long the filling is:
slot n + 1 is padding where the filling has at most n tokens, hence

    P(length = n) = P(slot n + 1 is padding) - P(slot n is padding)

A candidate fixes the padding of one length and writes the slots before it, where no padding may stand. Candidates
are compared by log P(length) + sum of log p(token): the joint log-probability of all slots, which has as many terms
for a short filling as for a long one and so needs no correction for length. (A mean over the tokens alone does not
say how likely the length is; LR-DLLM, 2026, finds that confidence depends on the length and corrects for it.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multimodal.diffusion.samplers import SamplerOutput
from multimodal.tasks import Canvas

TINY = 1e-6
"""Least probability of a length, whose probabilities are differences of rounded ones."""


@dataclass(frozen=True, slots=True)
class LengthChoice:
    """One length for each gap of a canvas.

    Args:
        lengths: in tokens.
        probabilities: of each.
    """

    lengths: tuple[int, ...] = ()
    probabilities: tuple[float, ...] = ()

    @property
    def log_probability(self) -> float:
        """Of all lengths together, the gaps taken as independent."""
        return float(torch.tensor(self.probabilities).log().sum())

    def canvas(self, canvas: Canvas, pad: int) -> Canvas:
        """The canvas with padding in all slots that these fillings do not need."""
        tokens = list(canvas.tokens)
        for (start, end), length in zip(canvas.gaps, self.lengths, strict=True):
            tokens[start + length : end] = [pad] * (end - start - length)
        return replace(canvas, tokens=tuple(tokens))


def length_probabilities(pad_probs: Tensor) -> Tensor:
    """P(length = n) for n = 0 ... slots, [slots + 1], of the probabilities that each slot is padding, [slots]."""
    at_most = torch.cat([pad_probs, pad_probs.new_ones(1)]).cummax(0).values  # padding ends a filling for good
    return at_most.diff(prepend=at_most.new_zeros(1)).clamp(min=TINY)


def likeliest(canvas: Canvas, pad_probs: Tensor, count: int) -> list[LengthChoice]:
    """The `count` likeliest choices of lengths for a canvas, the likeliest first; `pad_probs`: [length]."""
    choices = [LengthChoice()]
    for start, end in canvas.gaps:
        found = length_probabilities(pad_probs[start:end])
        best = found.topk(min(count, len(found)))
        pairs = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        choices = [
            LengthChoice((*choice.lengths, length), (*choice.probabilities, probability))
            for choice in choices
            for length, probability in pairs
        ]
        choices = sorted(choices, key=lambda choice: -choice.log_probability)[:count]
    return choices


def no_padding(canvases: Sequence[Canvas], mask: int, pad: int, vocab_size: int, device: torch.device) -> Tensor:
    """bool [canvases, length, vocab]: masks may not become padding."""
    tokens = torch.tensor([canvas.tokens for canvas in canvases], device=device)
    banned = torch.zeros(*tokens.shape, vocab_size, dtype=torch.bool, device=device)
    banned[..., pad] = tokens == mask
    return banned


def keep_likeliest(
    canvases: Sequence[Canvas], choices: Sequence[Sequence[LengthChoice]], output: SamplerOutput
) -> SamplerOutput:
    """Of each canvas its best candidate, with the calls of all and the one that looked at the empty gap.

    Args:
        canvases: as they were asked for.
        choices: of each canvas, what was tried.
        output: of all candidates, canvas by canvas.
    """
    kept, calls, first = [], [], 0
    confidence = output.confidence.clone()
    for canvas, tried in zip(canvases, choices, strict=True):
        rows = range(first, first + len(tried))
        scores = []
        for row, choice in zip(rows, tried, strict=True):
            written = confidence[row].clamp(min=1e-9).log().sum()  # what was given has confidence 1
            scores.append(float(written) + choice.log_probability)
            for (start, end), length, probability in zip(
                canvas.gaps, choice.lengths, choice.probabilities, strict=True
            ):
                if start + length < end:  # the first padding stands for the length
                    confidence[row, start + length] = probability
        kept.append(first + scores.index(max(scores)))
        calls.append(1 + int(output.nfe[first : first + len(tried)].sum()))
        first += len(tried)
    trajectory = tuple(step[kept] for step in output.trajectory)
    return SamplerOutput(output.tokens[kept], confidence[kept], torch.tensor(calls), trajectory)
