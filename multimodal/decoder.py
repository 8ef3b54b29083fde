"""The decoder: a bidirectional transformer over text tokens that cross-attends to conditioning latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Shape of a decoder.

    Args:
        vocab_size: token ids.
        max_tokens: longest canvas.
        latent_sizes: modality -> width of its latents.
        tasks: names of the tasks it was trained for, in the order of their embeddings.
        styles: names of the target styles, in the order of their embeddings.
        grid_positions: modality -> number of latents, where these lie on a fixed grid (pictures): each gets a learned
            position, since rows and columns are no smooth function of a running index. Others get sinusoids.
    """

    vocab_size: int
    max_tokens: int
    latent_sizes: Mapping[str, int]
    tasks: tuple[str, ...]
    styles: tuple[str, ...] = ()
    grid_positions: Mapping[str, int] = field(default_factory=dict)
    hidden_size: int = 192
    num_layers: int = 4
    num_heads: int = 6
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of 2 * num_heads {2 * self.num_heads}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DecoderConfig:
        """The inverse of `to_dict`."""
        return cls(**{**values, "tasks": tuple(values["tasks"]), "styles": tuple(values["styles"])})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class Condition:
    """Conditioning of a batch, as every layer's cross-attention reads it: computed once, used in every step.

    Args:
        keys, values: per layer, float [batch, heads, latents, head_size].
        bias: float [batch, 1, 1, latents], 0 where a latent is real and -inf where it is padding.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    bias: Tensor

    def rows(self, index: Tensor) -> Condition:
        """Some rows of the batch."""
        if len(index) == len(self.bias):
            return self
        keys, values = (tuple(layer[index] for layer in layers) for layers in (self.keys, self.values))
        return Condition(keys, values, self.bias[index])


@dataclass(frozen=True, slots=True)
class ConditionInput:
    """What a batch is conditioned on, before the decoder's adapters.

    Args:
        task: int64 [batch], index into `DecoderConfig.tasks`.
        style: int64 [batch], index into `DecoderConfig.styles`, -1 for none.
        modality: whose latents these are; None: none of the rows has latents.
        hidden_states: float [batch, latents, latent_sizes[modality]].
        attention_mask: bool [batch, latents].
        dropped: bool [batch], rows whose latents and style are replaced by the learned null condition.
    """

    task: Tensor
    style: Tensor
    modality: str | None = None
    hidden_states: Tensor | None = None
    attention_mask: Tensor | None = None
    dropped: Tensor | None = field(default=None)


class Norm(nn.LayerNorm):
    """Layer norm without bias, in the dtype that its output is multiplied in: bf16 under autocast.

    The round to bf16 would come right after it anyway; before it, it is made once and not once per product.
    Not RMSNorm: on a CPU that runs as a dozen small kernels and layer norm as one, a fifth of a training step.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> [..., size]."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return functional.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), eps=self.eps)


class LatentAdapter(nn.Module):
    """Projects one modality's latents to the decoder's width and tells their order."""

    def __init__(self, latent_size: int, hidden_size: int, grid_positions: int = 0) -> None:
        super().__init__()
        self.grid = nn.Parameter(torch.randn(grid_positions, hidden_size)) if grid_positions else None
        self.norm = nn.LayerNorm(latent_size)
        self.project = nn.Sequential(
            nn.Linear(latent_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, hidden_size)
        )
        self.position = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, latents: Tensor) -> Tensor:
        """[batch, latents, latent_size] -> [batch, latents, hidden_size]."""
        order = sinusoids(latents.shape[1], self.position.in_features).to(latents) if self.grid is None else self.grid
        projected: Tensor = self.project(self.norm(latents)) + self.position(order)
        return projected


class ConditionEmbedder(nn.Module):
    """Turns task, style and latents into one sequence of condition tokens."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.task = nn.Embedding(len(config.tasks), config.hidden_size)
        self.style = nn.Embedding(len(config.styles) + 1, config.hidden_size)  # the last is "no style"
        self.null = nn.Parameter(torch.randn(config.hidden_size) * 0.02)
        self.adapters = nn.ModuleDict(
            {
                name: LatentAdapter(size, config.hidden_size, config.grid_positions.get(name, 0))
                for name, size in sorted(config.latent_sizes.items())
            }
        )
        self.norm = Norm(config.hidden_size)

    def forward(self, condition: ConditionInput) -> tuple[Tensor, Tensor]:
        """Condition tokens [batch, 3 + latents, hidden] and their mask [batch, 3 + latents]."""
        batch = len(condition.task)
        keep = torch.ones(batch, dtype=torch.bool, device=condition.task.device)
        if condition.dropped is not None:
            keep = ~condition.dropped
        style = torch.where(keep, condition.style, -1) % self.style.num_embeddings
        null = self.null.expand(batch, -1)
        tokens = torch.stack([self.task(condition.task), self.style(style), null], 1)  # [batch, 3, hidden]
        mask = torch.ones(batch, 3, dtype=torch.bool, device=keep.device)
        if condition.modality is None or condition.hidden_states is None or condition.attention_mask is None:
            return self.norm(tokens), mask
        mask[:, 2] = ~keep  # the null token stands in for latents, never beside them
        latents = self.adapters[condition.modality](condition.hidden_states)
        return (
            self.norm(torch.cat([tokens, latents.to(tokens)], 1)),
            torch.cat([mask, condition.attention_mask & keep[:, None]], 1),
        )


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys (QK-norm)."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_size = hidden_size // num_heads
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.output = nn.Linear(hidden_size, hidden_size, bias=False)
        self.query_norm, self.key_norm = Norm(head_size), Norm(head_size)

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


class SwiGLU(nn.Module):
    """Gated feed-forward layer (Shazeer 2020)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        inner = -(-hidden_size * 8 // 3 // 32) * 32
        self.gate_up = nn.Linear(hidden_size, 2 * inner, bias=False)
        self.down = nn.Linear(inner, hidden_size, bias=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[..., hidden] -> [..., hidden]."""
        gate, up = self.gate_up(hidden_states).chunk(2, -1)
        output: Tensor = self.down(functional.silu(gate) * up)
        return output


class DecoderBlock(nn.Module):
    """Three residual lines: attend to the text, attend to the condition, think."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attention = Attention(config.hidden_size, config.num_heads)
        self.cross_attention = Attention(config.hidden_size, config.num_heads)
        self.feed_forward = SwiGLU(config.hidden_size)
        self.self_norm, self.cross_norm, self.feed_forward_norm = (Norm(config.hidden_size) for _ in range(3))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """x: [batch, length, hidden]; keys, values, bias: this layer's part of a `Condition`."""
        x = x + self.dropout(self._attend_to_text(self.self_norm(x)))
        queries = self.cross_attention.queries(self.cross_norm(x))
        x = x + self.dropout(self.cross_attention.attend(queries, keys, values, bias.to(queries)))
        x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return x

    def _attend_to_text(self, x: Tensor) -> Tensor:
        keys, values = self.self_attention.keys_values(x)
        queries = self.self_attention.queries(x)
        cos, sin = rotary_angles(x.shape[1], queries.shape[-1])
        cos, sin = cos.to(queries), sin.to(queries)
        return self.self_attention.attend(rotate(queries, cos, sin), rotate(keys, cos, sin), values, None)


class CrossAttentionDecoder(nn.Module):
    """Logits of every position's clean token, given a canvas of tokens and masks and a condition.

    Rotary positions alone cannot tell the positions of an all-mask canvas apart (equal values mix to equal values),
    hence the learned position embedding beside them.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_tokens, config.hidden_size)
        self.condition_embedder = ConditionEmbedder(config)
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.num_layers))
        self.norm = Norm(config.hidden_size)
        self.apply(_initialise)
        for block in self.blocks:
            assert isinstance(block, DecoderBlock)
            for layer in (block.self_attention.output, block.cross_attention.output, block.feed_forward.down):
                nn.init.normal_(layer.weight, std=0.02 / (3 * config.num_layers) ** 0.5)

    def condition(self, condition: ConditionInput) -> Condition:
        """Every layer's cross-attention keys and values: needed once per sample, not once per step."""
        tokens, mask = self.condition_embedder(condition)
        pairs = [block.cross_attention.keys_values(tokens) for block in self.blocks]  # type: ignore[union-attr, operator]
        bias = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -torch.inf)[:, None, None]
        return Condition(tuple(keys for keys, _ in pairs), tuple(values for _, values in pairs), bias)

    def forward(self, tokens: Tensor, condition: Condition, positions: Tensor | None = None) -> Tensor:
        """Logits of every position, or only of some: no need to compute what no loss looks at.

        Args:
            tokens: int64 [batch, length].
            condition: of the same rows.
            positions: bool [batch, length].

        Returns:
            [batch, length, vocab], or [count, vocab] of the chosen positions in row-major order.
        """
        x = self.embedding(tokens) + self.position.weight[: tokens.shape[1]]  # [batch, length, hidden]
        for block, keys, values in zip(self.blocks, condition.keys, condition.values, strict=True):
            x = block(x, keys, values, condition.bias)
        if positions is not None:
            x = x[positions]
        return functional.linear(self.norm(x), self.embedding.weight)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02 if isinstance(module, nn.Embedding) else module.weight.shape[1] ** -0.5)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


@lru_cache(maxsize=64)
def sinusoids(length: int, size: int) -> Tensor:
    """Fixed positions [length, size] (Vaswani et al. 2017)."""
    angles = torch.arange(length)[:, None] * torch.exp(
        torch.arange(0, size, 2) * (-torch.log(torch.tensor(1e4)) / size)
    )
    return torch.cat([angles.sin(), angles.cos()], -1)


@lru_cache(maxsize=64)
def rotary_angles(length: int, head_size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, each [length, head_size / 2] (RoFormer, Su et al. 2021)."""
    frequencies = 1e4 ** (-torch.arange(0, head_size, 2) / head_size)
    angles = torch.arange(length)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of features, the first half against the second, by their position's angles."""
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


def task_index(config: DecoderConfig, names: Sequence[str]) -> Tensor:
    """int64 [batch]: rows of the task embedding."""
    return torch.tensor([config.tasks.index(name) for name in names])


def style_index(config: DecoderConfig, names: Sequence[str]) -> Tensor:
    """int64 [batch]: rows of the style embedding, -1 for no style."""
    return torch.tensor([config.styles.index(name) if name else -1 for name in names])
