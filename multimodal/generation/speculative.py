"""Drafted all at once, read left to right: one decoder in two roles ("think in diffusion, talk in autoregression",
TiDAR, Liu et al. 2025; speculative decoding, Leviathan et al. 2023; Jacobi decoding, Santilli et al. 2023).

    to the left     [start] x_0 x_1 x_2 ...        position j has read the tokens before j and says what stands at j
    its draft       [start] mask mask mask ...     position j has read the start and all masks and says what stands at j
    with gaps       [start] x_0 mask mask x_3 ...  each position sees all others; what stands at j is said one before it

In every role position j answers for place j, so that place and condition mean the same in all of them. A call that
reads left to right says of every place at once what it would have written there, given the draft before it. As far as
the draft agrees, that is what writing one token a call would have given; at the first place where it does not, the
call's own token stands, and what the call says of the places after it is the draft of the next one. Each call settles
one token at least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal.diffusion.samplers import SamplerOutput
from multimodal.diffusion.samplers.base import gumbel

SLACK = 2
"""Places behind a draft's end that are read with it: where the end comes too early, the next draft has them."""

DraftCall = Callable[[], Tensor]
"""() -> logits of every place [batch, length, vocab]."""

ReadCall = Callable[[Tensor, Tensor], Tensor]
"""(tokens before each place [rows, length], indices of those rows in the batch [rows]) -> logits of every place
[rows, length, vocab], each of which has read what is left of it."""


def shifted(tokens: Tensor, mask: int) -> Tensor:
    """The start, then the tokens: int64 [batch, length + 1]."""
    return torch.cat([torch.full_like(tokens[:, :1], mask), tokens], 1)


def until_end(tokens: Tensor, end: int) -> Tensor:
    """bool of the shape of `tokens`: up to each row's first end, with it."""
    ends = tokens == end
    return ends.cumsum(-1) - ends.long() == 0


def said_before(positions: Tensor) -> Tensor:
    """Where `shifted` tokens say what stands at some positions, bool [batch, length + 1]."""
    return torch.cat([positions, torch.zeros_like(positions[:, :1])], 1)


@dataclass(frozen=True, slots=True)
class SpeculativeSampler:
    """Drafts texts and reads them left to right until every token is settled. A row that is settled leaves the batch.

    Args:
        mask_token_id: the start; never written.
        end_token_id: ends a text.
        num_steps: most calls, of drafting and of reading; what the last one says stands, settled or not.
        temperature: 0 takes the likeliest token; above, tokens are drawn from softmax(logits / temperature), every
            place with noise of its own that is the same in all calls: the text is then drawn exactly as it would be
            one token a call.
        acceptance: a drafted token is settled where its probability is at least this share of the likeliest's; 1: where
            it is the likeliest.
    """

    mask_token_id: int
    end_token_id: int
    num_steps: int
    temperature: float = 0.0
    acceptance: float = 1.0

    @torch.no_grad()
    def sample(
        self,
        draft: DraftCall,
        read: ReadCall,
        generators: Sequence[torch.Generator] | None = None,
        keep_trajectory: bool = False,
    ) -> SamplerOutput:
        """Write one text a row.

        Args:
            draft: the first call.
            read: all others.
            generators: one per row, needed at a temperature above 0.
            keep_trajectory: record the texts after each call.

        Returns:
            texts that hold ends from their first end on, of confidence 1 where nobody wrote them.
        """
        logits = draft()
        batch, length, vocab = logits.shape
        noise = gumbel((length, vocab), generators).to(logits.device) if self.temperature and generators else None
        tokens, confidence, _ = self._choose(logits, noise)
        tokens = self._trimmed(tokens)
        settled = torch.ones(batch, dtype=torch.long, device=tokens.device)  # the first place has nothing before it
        nfe = torch.ones(batch, dtype=torch.long)
        trajectory = [torch.full_like(tokens, self.mask_token_id).cpu(), tokens.cpu().clone()]
        for _ in range(self.num_steps - 1):
            written = until_end(tokens, self.end_token_id).sum(-1)
            rows = (settled < written).nonzero().squeeze(-1)
            if not len(rows):
                break
            wide = min(length, int(written[rows].max()) + SLACK)
            seen = tokens[rows, :wide]
            logits = read(shifted(seen[:, :-1], self.mask_token_id), rows)
            chosen, sureness, agreed = self._choose(logits, None if noise is None else noise[rows, :wide], seen)
            agreed |= torch.arange(wide, device=rows.device) < settled[rows, None]
            chosen = torch.where(agreed, seen, chosen)
            settled[rows] = agreed.cumprod(-1).sum(-1) + 1
            tokens[rows, :wide], confidence[rows, :wide] = chosen, sureness
            tokens[rows] = self._trimmed(tokens[rows], written[rows] + SLACK)
            nfe[rows.cpu()] += 1
            if keep_trajectory:
                trajectory.append(tokens.cpu().clone())
        unwritten = ~until_end(tokens, self.end_token_id)
        tokens = tokens.masked_fill(unwritten, self.end_token_id)
        confidence = confidence.masked_fill(unwritten, 1.0)
        return SamplerOutput(tokens, confidence.cpu(), nfe, tuple(trajectory) if keep_trajectory else ())

    def _choose(self, logits: Tensor, noise: Tensor | None, seen: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """What to write at every place, its probability, and whether `seen` stands there, each [rows, length]."""
        logits = logits.float().index_fill(-1, torch.tensor(self.mask_token_id, device=logits.device), -torch.inf)
        probs = logits.softmax(-1)
        chosen = (logits if noise is None else logits.double() / self.temperature + noise).argmax(-1)
        if seen is None:
            seen = chosen
        agreed = seen == chosen
        if self.acceptance < 1:
            likeliness = probs.gather(-1, seen[..., None]).squeeze(-1)
            agreed |= likeliness >= self.acceptance * probs.amax(-1)
        written = torch.where(agreed, seen, chosen)
        return chosen, probs.gather(-1, written[..., None]).squeeze(-1), agreed

    def _trimmed(self, tokens: Tensor, most: Tensor | None = None) -> Tensor:
        """Ends in place of what stands behind a row's first end and the slack after it, and behind `most` places: what
        is not read must not depend on how wide the rows beside it are."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        kept = until_end(tokens, self.end_token_id).sum(-1, keepdim=True) + SLACK
        if most is not None:
            kept = kept.minimum(most[:, None])
        return torch.where(places < kept, tokens, self.end_token_id)
