"""The edit stream: visible tokens that are wrong the way a decoder's own tokens are, for it to learn to correct."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from multimodal.decoder import Condition, CrossAttentionDecoder

NEIGHBOURS = 8
"""From so many nearest tokens a confusable one is drawn."""


class EditStream:
    """Wrong tokens beside those that a process draws uniformly: confusable ones (nearest in the embedding), and the
    decoder's own (ISCT of MDM-ASR, 2026; multi-turn forward of LLaDA2.1, 2026).

    Args:
        decoder: whose embedding and whose own tokens are used; no gradient flows.
        mask_token_id: never drawn.
        confusable: share of visible open positions that are replaced by a near token.
        own: share of masks that the decoder fills; right or wrong, they then count as visible.
    """

    def __init__(self, decoder: CrossAttentionDecoder, mask_token_id: int, confusable: float, own: float) -> None:
        self.decoder = decoder
        self.mask_token_id = mask_token_id
        self.confusable, self.own = confusable, own

    @torch.no_grad()
    def corrupt(self, x_t: Tensor, open_positions: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """x_t with further wrong tokens, int64 [batch, length] on the CPU.

        Args:
            x_t: int64 [batch, length], of the process.
            open_positions: bool [batch, length]; the others stay as they are.
            condition: of the same rows, on the decoder's device.
            generator: source of all randomness, on the CPU.
        """
        masked = x_t == self.mask_token_id
        chance = torch.rand(x_t.shape, generator=generator)
        filled = masked & (chance < self.own)
        confused = open_positions & ~masked & (chance < self.confusable)
        corrupted = x_t.clone()
        corrupted[filled] = self._own(x_t, condition, filled, generator)
        corrupted[confused] = self._near(x_t[confused], generator)
        return corrupted

    def _own(self, x_t: Tensor, condition: Condition, filled: Tensor, generator: torch.Generator) -> Tensor:
        """What the decoder draws at temperature 1, seeing all of x_t."""
        device = self.decoder.embedding.weight.device
        logits = self.decoder(x_t.to(device), condition, filled.to(device)).float().cpu()
        logits[:, self.mask_token_id] = -torch.inf
        sums = logits.softmax(-1).double().cumsum(-1)
        chance = torch.rand(len(sums), 1, generator=generator, dtype=torch.float64)
        return torch.searchsorted(sums / sums[:, -1:], chance, right=True).squeeze(-1)

    def _near(self, tokens: Tensor, generator: torch.Generator) -> Tensor:
        """For each of some tokens another one, drawn from its nearest by cosine."""
        embedding = functional.normalize(self.decoder.embedding.weight.float(), dim=-1).cpu()
        likeness = embedding[tokens] @ embedding.T
        likeness.scatter_(-1, tokens[:, None], -torch.inf)
        likeness[:, self.mask_token_id] = -torch.inf
        nearest = likeness.topk(min(NEIGHBOURS, likeness.shape[1] - 2), dim=-1).indices
        chosen = torch.randint(nearest.shape[1], (len(tokens), 1), generator=generator)
        return nearest.gather(-1, chosen).squeeze(-1)
