"""The absorbing process: tokens turn into masks one by one and never back."""

from __future__ import annotations

import torch
from torch import Tensor

from multimodal.diffusion.schedule import LinearSchedule, Schedule


class AbsorbingProcess:
    """Masked diffusion (D3PM absorbing, Austin et al. 2021; MDLM, Sahoo et al. 2024).

    Args:
        mask_token_id: the absorbing state.
        schedule: alpha(t), the probability that a token is still clean.
    """

    def __init__(self, mask_token_id: int, schedule: Schedule | None = None) -> None:
        self.mask_token_id = mask_token_id
        self.schedule = schedule or LinearSchedule()

    def prior_sample(self, shape: tuple[int, ...]) -> Tensor:
        """x_1: all masks, int64 of `shape`."""
        return torch.full(shape, self.mask_token_id)

    def q_sample(
        self, x_0: Tensor, t: Tensor, generator: torch.Generator, open_positions: Tensor | None = None
    ) -> Tensor:
        """x_t ~ q(x_t | x_0): each open position is masked with probability 1 - alpha(t).

        Args:
            x_0: int64 [batch, length].
            t: float [batch].
            generator: source of randomness, on the CPU.
            open_positions: bool [batch, length]; the others are never masked. None: all are open.
        """
        keep = self.schedule(t).alpha[:, None]
        masked = torch.rand(x_0.shape, generator=generator).to(x_0.device) >= keep
        if open_positions is not None:
            masked &= open_positions
        return torch.where(masked, self.mask_token_id, x_0)

    def posterior(self, x_t: Tensor, x_0_probs: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """q(x_s | x_t, x_0) with x_0 replaced by its prediction, s < t (MDLM, equation 6).

        Args:
            x_t: int64 [batch, length].
            x_0_probs: float [batch, length, vocab], zero at the mask.
            t, s: float [batch].

        Returns:
            float [batch, length, vocab]; a visible token stays as it is.
        """
        alpha_t, alpha_s = self.schedule(t).alpha[:, None, None], self.schedule(s).alpha[:, None, None]
        reveal = (alpha_s - alpha_t) / (1 - alpha_t)
        probs = reveal * x_0_probs
        probs[..., self.mask_token_id] = (1 - reveal).squeeze(-1).expand(x_t.shape)
        visible = (x_t != self.mask_token_id)[..., None]
        stays = torch.nn.functional.one_hot(x_t, x_0_probs.shape[-1]).to(probs)
        return torch.where(visible, stays, probs)
