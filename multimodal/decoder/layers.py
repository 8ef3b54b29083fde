"""Layers of the decoder: norms, attention, the feed-forward layer, rotary positions."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal.decoder.config import DecoderConfig


class LayerNorm(nn.LayerNorm):
    """Layer norm without bias, in the dtype that its output is multiplied in: bf16 under autocast.

    The round to bf16 would come right after it anyway; before it, it is made once and not once per product.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> [..., size]."""
        x = as_multiplied(x)
        return functional.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), eps=self.eps)


class RmsNorm(nn.RMSNorm):
    """Root-mean-square norm (Zhang and Sennrich 2019), in the dtype that its output is multiplied in.

    Not the default: on a CPU it runs as a dozen small kernels and layer norm as one.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> [..., size]."""
        x = as_multiplied(x)
        return functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), eps=self.eps)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": functional.silu, "gelu": functional.gelu}
NORMS: dict[str, type[LayerNorm] | type[RmsNorm]] = {"layer": LayerNorm, "rms": RmsNorm}


def build_norm(config: DecoderConfig, size: int | None = None) -> nn.Module:
    """The configured norm, of hidden states unless a size is given."""
    return NORMS[config.norm](size or config.hidden_size)


def as_multiplied(x: Tensor) -> Tensor:
    """In the dtype of products: autocast's where that is on."""
    return x.to(torch.get_autocast_dtype(x.device.type)) if torch.is_autocast_enabled(x.device.type) else x


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys (QK-norm), unless the config leaves that out."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        hidden_size, self.num_heads = config.hidden_size, config.num_heads
        head_size = hidden_size // self.num_heads
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.output = nn.Linear(hidden_size, hidden_size, bias=False)
        self.query_norm, self.key_norm = (
            build_norm(config, head_size) if config.qk_norm else nn.Identity() for _ in range(2)
        )

    def keys_values(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, each [batch, heads, length, head_size]."""
        keys, values = (self._heads(part) for part in self.key_value(hidden_states).chunk(2, -1))
        return self.key_norm(keys), values

    def queries(self, hidden_states: Tensor) -> Tensor:
        """Queries [batch, heads, length, head_size]."""
        normed: Tensor = self.query_norm(self._heads(self.query(hidden_states)))
        return normed

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """Attention output [batch, length, hidden]."""
        keys, values = keys.to(queries), values.to(queries)
        if torch.is_grad_enabled() and queries.device.type == "cpu":
            mixed = plain_attention(queries, keys, values, bias)
        else:
            mixed = functional.scaled_dot_product_attention(queries, keys, values, bias)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output

    def _heads(self, hidden_states: Tensor) -> Tensor:
        batch, length, _ = hidden_states.shape
        return hidden_states.view(batch, length, self.num_heads, -1).transpose(1, 2)


def plain_attention(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax attention in four kernels, [batch, heads, length, head_size] as PyTorch's own.

    For training on a CPU: at the lengths of captions the backward of PyTorch's fused kernel takes longer than the rest
    of the step, and its plain kernel adds checks for rows without any key, which no condition here has.
    """
    scores = queries * queries.shape[-1] ** -0.5 @ keys.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    mixed: Tensor = scores.softmax(-1) @ values
    return mixed


class GatedFeedForward(nn.Module):
    """Gated feed-forward layer: SwiGLU or GeGLU (Shazeer 2020)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        inner = config.feed_forward_size or -(-config.hidden_size * 8 // 3 // 32) * 32
        self.gate_up = nn.Linear(config.hidden_size, 2 * inner, bias=False)
        self.down = nn.Linear(inner, config.hidden_size, bias=False)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[..., hidden] -> [..., hidden]."""
        gate, up = self.gate_up(hidden_states).chunk(2, -1)
        output: Tensor = self.down(self.activation(gate) * up)
        return output


@lru_cache(maxsize=64)
def rotary_angles(length: int, head_size: int, base: float = 1e4) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, each [length, head_size / 2] (RoFormer, Su et al. 2021)."""
    frequencies = base ** (-torch.arange(0, head_size, 2) / head_size)
    angles = torch.arange(length)[:, None] * frequencies
    return angles.cos(), angles.sin()


@lru_cache(maxsize=256)
def causal_bias(new: int, total: int) -> Tensor:
    """[new, total]: 0 where one of the last `new` of `total` positions may look, -inf at what comes after it."""
    return torch.full((new, total), -torch.inf).triu(total - new + 1)


class Alignment(nn.Module):
    """Draws heads to the latents around a token's own place: attention falls with the distance, each head by its own
    learned slope (ALiBi, Press et al. 2022, here between a text and latents of the same order).

    Without it, speech and spelling are read only once some head has found out which latents belong to which token, and
    until then there is nothing that rewards looking. A third of the heads starts without a slope.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        slopes = torch.tensor([(0.0, 0.3, 0.9)[head % 3] for head in range(num_heads)])
        self.slopes = nn.Parameter(slopes)

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Bias [batch, heads, length, latents], 0 for latents without a place (NaN).

        Args:
            tokens: int64 [length], their places in the text.
            places: float [batch, latents], in tokens.
        """
        known = ~places.isnan()
        distance = (tokens[:, None] - places.nan_to_num(0.0)[:, None]).abs()  # [batch, length, latents]
        distance = distance * known[:, None]
        return -self.slopes[:, None, None] * distance[:, None]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of features, the first half against the second, by their position's angles."""
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)
