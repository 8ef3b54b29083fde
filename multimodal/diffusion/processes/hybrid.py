"""The hybrid process: tokens turn into other words and, in the end, into masks."""

from __future__ import annotations

from torch import Tensor

from multimodal.diffusion.loss import LossOutput, weighted_cross_entropy
from multimodal.diffusion.processes.base import Marginal, Marginals, Process
from multimodal.diffusion.schedule import Schedule


class HybridProcess(Process):
    """Mask and replace (VQ-Diffusion, Gu et al. 2022) with the mixing of GIDD (von Rütte et al. 2025,
    gamma = 1): visible tokens may be wrong, so the denoiser learns to correct them, and text can be revised.

    The loss joins two streams (LLaDA2.1, 2026): masks to tokens, and tokens to tokens.

        mean CE over masks + edit_weight * (mean CE over wrong tokens + keep_weight * mean CE over right ones)

    Args:
        mask_token_id, vocab_size, schedule: as in `Process`; alpha(t) is that of the masks alone.
        replaced: share of tokens that are replaced where it is highest, at alpha(t) = 1/2; 0 is the absorbing process.
        edit_weight: of visible tokens beside masks.
        keep_weight: of visible tokens that are right beside wrong ones.
    """

    def __init__(
        self,
        mask_token_id: int,
        vocab_size: int,
        schedule: Schedule | None = None,
        replaced: float = 0.1,
        edit_weight: float = 0.5,
        keep_weight: float = 0.1,
    ) -> None:
        super().__init__(mask_token_id, vocab_size, schedule)
        self.scale = 2 * replaced / (1 - replaced)
        self.edit_weight, self.keep_weight = edit_weight, keep_weight

    def marginals(self, t: Tensor) -> Marginals:
        """alpha, 1 - alpha and scale * sqrt(alpha (1 - alpha)), divided by their sum."""
        noise = self.schedule(t)
        alpha, d_alpha = noise.alpha, noise.d_alpha
        root = (alpha * (1 - alpha)).sqrt()
        replaced, total = self.scale * root, 1 + self.scale * root
        d_replaced = self.scale * (1 - 2 * alpha) * d_alpha / (2 * root)
        value = Marginal(alpha / total, (1 - alpha) / total, replaced / total)
        derivative = Marginal(
            (d_alpha - value.keep * d_replaced) / total,
            (-d_alpha - value.masked * d_replaced) / total,
            (d_replaced - value.replaced * d_replaced) / total,
        )
        return Marginals(value, derivative)

    def scored(self, x_t: Tensor, open_positions: Tensor) -> Tensor:
        """All that is open: masks are to be written, visible tokens to be kept or corrected."""
        return open_positions

    def loss(self, logits: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, weights: Tensor) -> LossOutput:
        """As in `Process.loss`; the weight is 1, since a mean of means is no sum over positions."""
        masked, right = x_t == self.mask_token_id, x_t == x_0

        def mean(among: Tensor) -> Tensor:
            return weighted_cross_entropy(logits[among], x_0[among], weights[among]).mean

        edits = mean(~masked & ~right) + self.keep_weight * mean(right)
        total = mean(masked) + self.edit_weight * edits
        return LossOutput(total, total.new_ones(()))
