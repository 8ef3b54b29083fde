"""Drafts: the text to be edited is read once, and what the decoder writes may be copied out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from multimodal.decoder.config import DecoderConfig
from multimodal.decoder.layers import Attention, GatedFeedForward, build_norm, rotary_angles, rotate
from multimodal.decoder.layout import TextLayout

POINTER_SIZE = 64
"""Features by which a written position and a draft's token find each other."""

PRIOR_PAIRS = POINTER_SIZE // 8
"""Rotary pairs, the fastest ones, that tell at first how near two places are."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A batch of drafts, as the pointer reads them: computed once, used in every step.

    Args:
        tokens: int64 [batch, draft].
        keys: float [batch, draft, POINTER_SIZE].
        bias: float [batch, 1, draft], 0 where a token may be copied and -inf elsewhere.
        same: float [batch, draft, draft], 1 where two places have one token.
    """

    tokens: Tensor
    keys: Tensor
    bias: Tensor
    same: Tensor

    def rows(self, index: Tensor) -> Draft:
        """Some rows of the batch."""
        return Draft(self.tokens[index], self.keys[index], self.bias[index], self.same[index])

    @classmethod
    def joined(cls, drafts: Sequence[Draft]) -> Draft:
        """Several texts of the same rows, to be copied out of as if they were one."""
        tokens = torch.cat([draft.tokens for draft in drafts], 1)
        keys = torch.cat([draft.keys for draft in drafts], 1)
        return cls(tokens, keys, torch.cat([draft.bias for draft in drafts], -1), _same(tokens))


def _same(tokens: Tensor) -> Tensor:
    """float [batch, draft, draft], 1 where two places have one token."""
    return (tokens[:, :, None] == tokens[:, None]).float()


class DraftBlock(nn.Module):
    """One layer of the draft's encoder: attend to all of the draft, think."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.feed_forward = GatedFeedForward(config)
        self.attention_norm, self.feed_forward_norm = (build_norm(config) for _ in range(2))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x: [batch, draft, hidden]; bias: [batch, 1, 1, draft]."""
        normed = self.attention_norm(x)
        keys, values = self.attention.keys_values(normed)
        queries = self.attention.queries(normed)
        cos, sin = (part.to(queries) for part in rotary_angles(x.shape[1], queries.shape[-1]))
        x = x + self.attention.attend(rotate(queries, cos, sin), rotate(keys, cos, sin), values, bias.to(queries))
        output: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return output


class DraftEncoder(nn.Module):
    """Reads drafts through the decoder's own embedding: what is to be copied looks like what it is copied to."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.position = nn.Embedding(config.max_draft, config.hidden_size)
        self.blocks = nn.ModuleList(DraftBlock(config) for _ in range(config.draft_layers))
        self.norm = build_norm(config)

    def forward(self, tokens: Tensor, mask: Tensor, embedding: nn.Embedding) -> Tensor:
        """States [batch, draft, hidden] of tokens, int64 [batch, draft], of which `mask` says which are real."""
        x = embedding(tokens) + self.position.weight[: tokens.shape[1]]
        # The first token may look at itself even in a draft that is all padding: no softmax without a key.
        open_keys = mask | (torch.arange(mask.shape[1], device=mask.device) == 0)
        bias = torch.zeros(mask.shape, device=mask.device).masked_fill(~open_keys, -torch.inf)[:, None, None]
        for block in self.blocks:
            x = block(x, bias)
        states: Tensor = self.norm(x)
        return states


class CopyPointer(nn.Module):
    """Lets every written position point at the draft's tokens, beside choosing from the vocabulary.

    Vocabulary and draft share one softmax (CopyNet, Gu et al. 2016): a token's logit becomes the log of the sum of
    the exponents of its own logit and of the scores of the places where the draft has it. Rare words that are copied
    need not be learnt then. Scores see how far apart two places are (rotary), and start out, by a shared constant,
    at the draft's token of the same place: most of an edited text stays where it was. A hint's words stand nowhere in
    the text: its keys are a layer of their own, without that constant.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.query = nn.Linear(config.hidden_size, POINTER_SIZE)
        self.key = nn.Linear(config.hidden_size, POINTER_SIZE)
        self.hint_key = nn.Linear(config.hidden_size, POINTER_SIZE) if "hint" in config.further else None

    def initialise(self) -> None:
        """Content weighs little at first, the same place much: a bump of 6 nats, half as high three places off."""
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
            with torch.no_grad():
                layer.bias[:PRIOR_PAIRS] = 6**0.5
        if self.hint_key is not None:
            nn.init.normal_(self.hint_key.weight, std=0.02)

    def read(self, states: Tensor, tokens: Tensor, mask: Tensor) -> Draft:
        """What `logits` needs of drafts.

        Args:
            states: [batch, draft, hidden], of the draft's encoder.
            tokens: int64 [batch, draft].
            mask: bool [batch, draft], what may be copied.
        """
        return self._readable(self.key(states), tokens, mask)

    def read_hint(self, states: Tensor, tokens: Tensor, mask: Tensor) -> Draft:
        """The same of hints."""
        assert self.hint_key is not None
        return self._readable(self.hint_key(states), tokens, mask)

    def _readable(self, keys: Tensor, tokens: Tensor, mask: Tensor) -> Draft:
        bias = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -torch.inf)[:, None]
        return Draft(tokens, self._placed(keys), bias, _same(tokens))

    def logits(
        self,
        x: Tensor,
        logits: Tensor,
        draft: Draft,
        positions: Tensor | None = None,
        layout: TextLayout | None = None,
    ) -> Tensor:
        """Logits of vocabulary and draft together.

        Args:
            x: the decoder's last states, [batch, length, hidden], or [count, hidden] of the chosen positions.
            logits: of the vocabulary, [batch, length, vocab], or [count, vocab] of the chosen positions.
            draft: of the same rows.
            positions: bool [batch, length], which were chosen.
            layout: where these positions stand in their text; None: at its beginning.

        Returns:
            The shape of `logits`.
        """
        scores = self.scores(x, draft, layout, positions).float()
        highest = scores.detach().amax(-1, keepdim=True).clamp(min=-1e4)  # a row without a draft has nothing to copy
        total = ((scores - highest).exp() @ draft.same).clamp(min=1e-20).log() + highest
        places = draft.same.sum(-1)[:, None].expand(scores.shape)
        known = ((draft.bias == 0).float() @ draft.same > 0).expand(scores.shape)
        tokens = draft.tokens[:, None].expand(scores.shape)
        if positions is not None:
            total, places, known, tokens = (part[positions] for part in (total, places, known, tokens))
        logits = logits.float()
        own = logits.gather(-1, tokens)
        # Each of a token's places brings its share of what all of them add.
        added = torch.where(known, (torch.logaddexp(own, total) - own) / places, 0.0)
        return logits.scatter_add(-1, tokens, added)

    def scores(
        self, x: Tensor, draft: Draft, layout: TextLayout | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """[batch, length, draft]: how much each position points at each place of the draft, in nats; of positions that
        were not chosen it says nothing. Arguments as of `logits`."""
        queries = self.query(x)
        if positions is not None:
            queries = queries.new_zeros(*positions.shape, POINTER_SIZE).index_put((positions,), queries)
        queries = self._placed(queries, layout)
        return queries @ draft.keys.to(queries).transpose(1, 2) / PRIOR_PAIRS + draft.bias

    def _placed(self, x: Tensor, layout: TextLayout | None = None) -> Tensor:
        places = layout.places if layout else slice(None)
        angles = rotary_angles(layout.end if layout else x.shape[1], POINTER_SIZE)
        cos, sin = (part[places].to(x) for part in angles)
        return rotate(x, cos, sin)
