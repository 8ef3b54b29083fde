"""The absorbing process: tokens turn into masks one by one and never back."""

from __future__ import annotations

import torch
from torch import Tensor

from multimodal.diffusion.loss import LossOutput, weighted_cross_entropy
from multimodal.diffusion.processes.base import Marginal, Marginals, Process


class AbsorbingProcess(Process):
    """Masked diffusion (D3PM absorbing, Austin et al. 2021; MDLM, Sahoo et al. 2024).

    The loss is plain cross-entropy of masked tokens, unweighted in t: more compute-efficient than the bound's weights
    (LLaDA, Nie et al. 2025).
    """

    def marginals(self, t: Tensor) -> Marginals:
        """A token is kept with probability alpha(t), else masked."""
        noise = self.schedule(t)
        nothing = torch.zeros_like(noise.alpha)
        return Marginals(
            Marginal(noise.alpha, 1 - noise.alpha, nothing), Marginal(noise.d_alpha, -noise.d_alpha, nothing)
        )

    def scored(self, x_t: Tensor, open_positions: Tensor) -> Tensor:
        """The masks."""
        return x_t == self.mask_token_id

    def loss(self, logits: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, weights: Tensor) -> LossOutput:
        """As in `Process.loss`."""
        return weighted_cross_entropy(logits, x_0, weights)
