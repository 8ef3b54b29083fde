"""The uniform process: tokens turn into other words, and may turn again and again."""

from __future__ import annotations

import torch
from torch import Tensor

from multimodal.diffusion.loss import LossOutput, weighted_cross_entropy
from multimodal.diffusion.processes.base import TINY, Marginal, Marginals, Process


class UniformProcess(Process):
    """Uniform-state diffusion (D3PM uniform, Austin et al. 2021; UDLM, Schiff et al. 2024; Duo, Sahoo et al. 2025).

    The loss is the plain cross-entropy of -log p(x_0 | x_t) at every open position, unweighted in t. The token that
    stands there enters it by Bayes' rule: it is alpha / noise + 1 times likelier to be the clean one than the other
    positions alone would say. So the network need not be told t to know how much a token is worth; nearly clean
    canvases, where copying is right, ask little of it; and what it predicts is what posterior and bound are made
    from. The bound itself as a loss has the same optimum, but its weights vary by orders of magnitude.
    """

    def marginals(self, t: Tensor) -> Marginals:
        """A token is kept with probability alpha(t), else drawn from all words."""
        noise = self.schedule(t)
        nothing = torch.zeros_like(noise.alpha)
        return Marginals(
            Marginal(noise.alpha, nothing, 1 - noise.alpha), Marginal(noise.d_alpha, nothing, -noise.d_alpha)
        )

    def scored(self, x_t: Tensor, open_positions: Tensor) -> Tensor:
        """All that is open: nothing tells which tokens are noise."""
        return open_positions

    def loss(self, logits: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, weights: Tensor) -> LossOutput:
        """As in `Process.loss`."""
        marginal = self.marginals(t).value
        noise = self._noise_at(x_t, marginal).clamp(min=TINY)
        evidence = torch.log1p(marginal.keep / noise)
        logits = logits.float().scatter_add(-1, x_t[:, None], evidence[:, None].to(logits.device))
        return weighted_cross_entropy(logits, x_0, weights)
