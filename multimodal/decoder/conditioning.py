"""Conditioning: latents, task and style become the keys and values of every layer's cross-attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from multimodal.decoder.config import DecoderConfig
from multimodal.decoder.drafts import Draft
from multimodal.decoder.layers import Norm


@dataclass(frozen=True, slots=True)
class Condition:
    """Conditioning of a batch, as every layer's cross-attention reads it: computed once, used in every step.

    Args:
        keys, values: per layer, float [batch, heads, latents, head_size].
        bias: float [batch, 1, 1, latents], 0 where a latent is real and -inf where it is padding.
        places: float [batch, latents], where in the text each latent belongs, in tokens; NaN for those that belong
            nowhere. None: none of them belongs anywhere.
        lengths: float [batch], how many tokens the latents stand for; None: they follow no order.
        draft: what may be copied; None: the rows have no drafts.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    bias: Tensor
    places: Tensor | None = None
    lengths: Tensor | None = None
    draft: Draft | None = None

    def rows(self, index: Tensor) -> Condition:
        """Some rows of the batch."""
        if len(index) == len(self.bias):
            return self
        keys, values = (tuple(layer[index] for layer in layers) for layers in (self.keys, self.values))
        places, lengths = (None if part is None else part[index] for part in (self.places, self.lengths))
        draft = self.draft.rows(index) if self.draft else None
        return Condition(keys, values, self.bias[index], places, lengths, draft)


@dataclass(frozen=True, slots=True)
class ConditionInput:
    """What a batch is conditioned on, before the decoder's adapters.

    Args:
        task: int64 [batch], index into `DecoderConfig.tasks`.
        style: int64 [batch], index into `DecoderConfig.styles`, -1 for none.
        modality: whose latents these are; None: none of the rows has latents.
        hidden_states: float [batch, latents, latent_sizes[modality]].
        attention_mask: bool [batch, latents].
        dropped: bool [batch], rows whose latents, draft and style are replaced by the learned null condition.
        draft: int64 [batch, draft], tokens of a text to be edited, for decoders that read drafts.
        draft_mask: bool [batch, draft], where `draft` is no padding.
    """

    task: Tensor
    style: Tensor
    modality: str | None = None
    hidden_states: Tensor | None = None
    attention_mask: Tensor | None = None
    dropped: Tensor | None = None
    draft: Tensor | None = None
    draft_mask: Tensor | None = None

    def to(self, device: torch.device) -> ConditionInput:
        """The same condition with its tensors on `device`."""
        tensors: dict[str, Any] = {
            name: value.to(device) for name in self.__slots__ if isinstance(value := getattr(self, name), Tensor)
        }
        return replace(self, **tensors)


class LatentAdapter(nn.Module):
    """Projects one modality's latents to the decoder's width and tells their order.

    Latents that follow the text's order (speech, spelling) also say where in the text they belong: each emits a share
    of a token, and its place is what those before it have emitted (continuous integrate-and-fire, Dong & Xu 2020).

    Args:
        latent_size, hidden_size: widths.
        grid_positions: how many latents lie on a fixed grid; 0: they are a sequence.
        rate: tokens per latent at first; 0: the latents have no order in common with text.
    """

    def __init__(self, latent_size: int, hidden_size: int, grid_positions: int = 0, rate: float = 0.0) -> None:
        super().__init__()
        self.grid = nn.Parameter(torch.randn(grid_positions, hidden_size)) if grid_positions else None
        self.norm = nn.LayerNorm(latent_size)
        self.project = nn.Sequential(
            nn.Linear(latent_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, hidden_size)
        )
        self.position = nn.Linear(hidden_size, hidden_size, bias=False)
        self.rate = rate
        self.emit = nn.Linear(hidden_size, 1) if rate else None

    def initialise(self) -> None:
        """Every latent emits the mean rate at first."""
        if self.emit is not None:
            nn.init.zeros_(self.emit.weight)
            nn.init.constant_(self.emit.bias, math.log(self.rate / max(1e-3, 1 - self.rate)))

    def places(self, projected: Tensor, mask: Tensor) -> tuple[Tensor, Tensor] | None:
        """Place of each latent, float [batch, latents], and tokens in all, float [batch]; None without an order."""
        if self.emit is None:
            return None
        emitted = self.emit(projected).squeeze(-1).float().sigmoid() * mask
        return emitted.cumsum(-1) - emitted / 2 - 0.5, emitted.sum(-1)  # a token's own middle is its place

    def forward(self, latents: Tensor) -> Tensor:
        """[batch, latents, latent_size] -> [batch, latents, hidden_size]."""
        order = sinusoids(latents.shape[1], self.position.in_features).to(latents) if self.grid is None else self.grid
        projected: Tensor = self.project(self.norm(latents)) + self.position(order)
        return projected


@dataclass(frozen=True, slots=True)
class EmbeddedCondition:
    """Condition tokens of a batch.

    Args:
        tokens: float [batch, n, hidden] with n = 3 + latents + draft.
        mask: bool [batch, n], where they are real.
        places, lengths: as in `Condition`.
    """

    tokens: Tensor
    mask: Tensor
    places: Tensor | None
    lengths: Tensor | None


class ConditionEmbedder(nn.Module):
    """Turns task, style, latents and a draft's states into one sequence of condition tokens."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.task = nn.Embedding(len(config.tasks), config.hidden_size)
        self.style = nn.Embedding(len(config.styles) + 1, config.hidden_size)  # the last is "no style"
        self.null = nn.Parameter(torch.randn(config.hidden_size) * 0.02)
        self.adapters = nn.ModuleDict(
            {
                name: LatentAdapter(
                    size, config.hidden_size, config.grid_positions.get(name, 0), config.rates.get(name, 0.0)
                )
                for name, size in sorted(config.latent_sizes.items())
            }
        )
        self.norm = Norm(config.hidden_size)

    def forward(self, condition: ConditionInput, draft: Tensor | None = None) -> EmbeddedCondition:
        """The condition's tokens.

        Args:
            condition: of a batch.
            draft: [batch, draft, hidden], states of its tokens.
        """
        batch = len(condition.task)
        keep = torch.ones(batch, dtype=torch.bool, device=condition.task.device)
        if condition.dropped is not None:
            keep = ~condition.dropped
        style = torch.where(keep, condition.style, -1) % self.style.num_embeddings
        null = self.null.expand(batch, -1)
        tokens = torch.stack([self.task(condition.task), self.style(style), null], 1)  # [batch, 3, hidden]
        mask = torch.ones(batch, 3, dtype=torch.bool, device=keep.device)
        parts, masks = [tokens], [mask]
        places, lengths = [torch.full((batch, 3), torch.nan, device=keep.device)], None
        if condition.modality and condition.hidden_states is not None and condition.attention_mask is not None:
            mask[:, 2] = ~keep  # the null token stands in for latents, never beside them
            adapter = self.adapters[condition.modality]
            assert isinstance(adapter, LatentAdapter)
            projected = adapter(condition.hidden_states)
            parts.append(projected.to(tokens))
            masks.append(condition.attention_mask & keep[:, None])
            found = adapter.places(projected, condition.attention_mask)
            places.append(torch.full(masks[-1].shape, torch.nan, device=keep.device) if found is None else found[0])
            lengths = None if found is None else found[1]
        if draft is not None and condition.draft_mask is not None:
            parts.append(draft.to(tokens))
            masks.append(condition.draft_mask & keep[:, None])
            places.append(torch.arange(masks[-1].shape[1], device=keep.device).float().expand(batch, -1))
        placed = torch.cat(places, 1) if draft is not None or lengths is not None else None
        return EmbeddedCondition(self.norm(torch.cat(parts, 1)), torch.cat(masks, 1), placed, lengths)


@lru_cache(maxsize=64)
def sinusoids(length: int, size: int) -> Tensor:
    """Fixed positions [length, size] (Vaswani et al. 2017)."""
    angles = torch.arange(length)[:, None] * torch.exp(
        torch.arange(0, size, 2) * (-torch.log(torch.tensor(1e4)) / size)
    )
    return torch.cat([angles.sin(), angles.cos()], -1)


def task_index(config: DecoderConfig, names: Sequence[str]) -> Tensor:
    """int64 [batch]: rows of the task embedding."""
    return torch.tensor([config.tasks.index(name) for name in names])


def style_index(config: DecoderConfig, names: Sequence[str]) -> Tensor:
    """int64 [batch]: rows of the style embedding, -1 for no style."""
    return torch.tensor([config.styles.index(name) if name else -1 for name in names])
