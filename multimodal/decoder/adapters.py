"""Adapters: one modality's latents become tokens of the decoder's width, fewer of them where that is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal.decoder.config import DecoderConfig
from multimodal.decoder.layers import Attention, GatedFeedForward, build_norm

RESAMPLER_LAYERS = 2


@dataclass(frozen=True, slots=True)
class AdaptedLatents:
    """Latents as condition tokens.

    Args:
        tokens: float [batch, tokens, hidden].
        mask: bool [batch, tokens], where they are real.
        places: float [batch, tokens], where in the text each belongs, in tokens; None: they follow no order.
        lengths: float [batch], how many tokens they stand for.
    """

    tokens: Tensor
    mask: Tensor
    places: Tensor | None = None
    lengths: Tensor | None = None


class LatentAdapter(nn.Module):
    """Projects one modality's latents to the decoder's width, tells their order, and shortens them.

    Neighbouring latents are joined before the projection (frame stacking: a convolution whose stride is its kernel),
    learned queries read them after it. Latents that follow the text's order (speech, spelling) also say where in the
    text they belong: each emits a share of a token, and its place is what those before it have emitted (continuous
    integrate-and-fire, Dong & Xu 2020).
    """

    def __init__(self, config: DecoderConfig, modality: str) -> None:
        super().__init__()
        hidden_size, latent_size = config.hidden_size, config.latent_sizes[modality]
        grid_positions = config.grid_positions.get(modality, 0)
        self.stride = config.downsample.get(modality, 1)
        self.grid = nn.Parameter(torch.randn(grid_positions, hidden_size)) if grid_positions else None
        self.norm = nn.LayerNorm(latent_size)
        self.project = nn.Sequential(
            nn.Linear(self.stride * latent_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, hidden_size)
        )
        self.position = nn.Linear(hidden_size, hidden_size, bias=False)
        queries = config.resample.get(modality, 0)
        self.resampler = PerceiverResampler(config, queries) if queries else None
        self.rate = 0.0 if queries else self.stride * config.rates.get(modality, 0.0)  # queries follow no order
        self.emit = nn.Linear(hidden_size, 1) if self.rate else None

    def initialise(self) -> None:
        """Every latent emits the mean rate at first."""
        if self.emit is not None:
            nn.init.zeros_(self.emit.weight)
            nn.init.constant_(self.emit.bias, math.log(self.rate / max(1e-3, 1 - self.rate)))

    def forward(self, latents: Tensor, mask: Tensor) -> AdaptedLatents:
        """Latents as condition tokens.

        Args:
            latents: [batch, latents, latent_size].
            mask: bool [batch, latents].
        """
        latents, mask = join_neighbours(self.norm(latents), mask, self.stride)
        order = sinusoids(latents.shape[1], self.position.in_features).to(latents) if self.grid is None else self.grid
        tokens: Tensor = self.project(latents) + self.position(order)
        if self.emit is not None:
            emitted = self.emit(tokens).squeeze(-1).float().sigmoid() * mask
            places = emitted.cumsum(-1) - emitted / 2 - 0.5  # a token's own middle is its place
            return AdaptedLatents(tokens, mask, places, emitted.sum(-1))
        if self.resampler is not None:
            tokens = self.resampler(tokens, mask)
            mask = mask.any(-1, keepdim=True).expand(tokens.shape[:2])
        return AdaptedLatents(tokens, mask)


class PerceiverResampler(nn.Module):
    """Learned queries that read any number of latents into a fixed number of tokens (Flamingo, Alayrac et al. 2022)."""

    def __init__(self, config: DecoderConfig, queries: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, config.hidden_size))
        self.layers = nn.ModuleList(_ResamplerLayer(config) for _ in range(RESAMPLER_LAYERS))

    def forward(self, latents: Tensor, mask: Tensor) -> Tensor:
        """[batch, latents, hidden], bool [batch, latents] -> [batch, queries, hidden]."""
        x = self.queries.expand(len(latents), -1, -1)
        # The first latent may be read even where all are padding: no softmax without a key.
        readable = mask | (torch.arange(mask.shape[1], device=mask.device) == 0)
        bias = torch.zeros(mask.shape, device=mask.device).masked_fill(~readable, -torch.inf)[:, None, None]
        for layer in self.layers:
            x = layer(x, latents, bias)
        return x


class _ResamplerLayer(nn.Module):
    """Read the latents, think."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(config), GatedFeedForward(config)
        self.query_norm, self.latent_norm, self.feed_forward_norm = (build_norm(config) for _ in range(3))

    def forward(self, x: Tensor, latents: Tensor, bias: Tensor) -> Tensor:
        """x: [batch, queries, hidden]; latents: [batch, latents, hidden]; bias: [batch, 1, 1, latents]."""
        keys, values = self.attention.keys_values(self.latent_norm(latents))
        queries = self.attention.queries(self.query_norm(x))
        x = x + self.attention.attend(queries, keys, values, bias.to(queries))
        output: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return output


def join_neighbours(latents: Tensor, mask: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Every `stride` latents side by side as one, [batch, n, d] -> [batch, ceil(n / stride), stride * d]; what the
    mask leaves out counts as zero. The new mask, bool [batch, ceil(n / stride)], is set where any of them was."""
    if stride == 1:
        return latents, mask
    batch, length, size = latents.shape
    missing = -length % stride
    latents = functional.pad(latents.masked_fill(~mask[..., None], 0.0), (0, 0, 0, missing))
    mask = functional.pad(mask, (0, missing))
    return latents.reshape(batch, -1, stride * size), mask.view(batch, -1, stride).any(-1)


@lru_cache(maxsize=64)
def sinusoids(length: int, size: int) -> Tensor:
    """Fixed positions [length, size] (Vaswani et al. 2017)."""
    angles = torch.arange(length)[:, None] * torch.exp(
        torch.arange(0, size, 2) * (-torch.log(torch.tensor(1e4)) / size)
    )
    return torch.cat([angles.sin(), angles.cos()], -1)
