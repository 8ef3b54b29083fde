"""Conditioning: latents, task and style become the keys and values of every layer's cross-attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from multimodal.decoder.adapters import LatentAdapter
from multimodal.decoder.config import DecoderConfig
from multimodal.decoder.drafts import Draft
from multimodal.decoder.layers import build_norm

CONDITION_TYPES = ("latents", "draft", "style", "hint", "picture")
"""What a row's condition is made of beside its task: each can be dropped, and guided, on its own."""

LATENTS, DRAFT, STYLE, HINT, PICTURE = range(5)
NO_LATENTS, DRAFT_NULL = "none", "draft"


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
        modality: whose latents these are, or would be; None: the task reads none.
        hidden_states: float [batch, latents, latent_sizes[modality]]; None: none of the rows has latents.
        attention_mask: bool [batch, latents].
        dropped: bool [batch, types], which of a row's `CONDITION_TYPES` are replaced by their learned null conditions.
        draft: int64 [batch, draft], tokens of a text to be edited, for decoders that read drafts.
        draft_mask: bool [batch, draft], where `draft` is no padding.
        hint: int64 [batch, hint], tokens of a text that says what to expect; None: none of the rows has one.
        hint_mask: bool [batch, hint], nowhere in rows without a hint.
        picture: float [batch, latents, latent_sizes["image"]], of a picture beside the task's own content.
        picture_mask: bool [batch, latents], nowhere in rows without such a picture.
        ordered: whether the text follows the order of the task's latents, where these have one; a description of a
            sound does not.
    """

    task: Tensor
    style: Tensor
    modality: str | None = None
    hidden_states: Tensor | None = None
    attention_mask: Tensor | None = None
    dropped: Tensor | None = None
    draft: Tensor | None = None
    draft_mask: Tensor | None = None
    hint: Tensor | None = None
    hint_mask: Tensor | None = None
    picture: Tensor | None = None
    picture_mask: Tensor | None = None
    ordered: bool = True

    def to(self, device: torch.device) -> ConditionInput:
        """The same condition with its tensors on `device`."""
        tensors: dict[str, Any] = {
            name: value.to(device) for name in self.__slots__ if isinstance(value := getattr(self, name), Tensor)
        }
        return replace(self, **tensors)


@dataclass(frozen=True, slots=True)
class EmbeddedCondition:
    """Condition tokens of a batch.

    Args:
        tokens: float [batch, n, hidden]: task, style, null, latents, where there are drafts their null and they, then
            hint and picture.
        mask: bool [batch, n], where they are real.
        places, lengths: as in `Condition`.
    """

    tokens: Tensor
    mask: Tensor
    places: Tensor | None
    lengths: Tensor | None


class ConditionEmbedder(nn.Module):
    """Turns task, style, latents and a draft's states into one sequence of condition tokens.

    What is dropped leaves its null condition behind: latents that of their modality, a draft the draft's, a style the
    embedding of "no style". Hints and pictures have no null: most rows lack them, and what lacks one is read as if
    there were no such thing.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.task = nn.Embedding(len(config.tasks), config.hidden_size)
        self.style = nn.Embedding(len(config.styles) + 1, config.hidden_size)  # the last is "no style"
        names = (NO_LATENTS, *sorted(config.latent_sizes), *([DRAFT_NULL] if config.drafts else []))
        self.null = nn.ParameterDict({name: torch.randn(config.hidden_size) * 0.02 for name in names})
        self.adapters = nn.ModuleDict({name: LatentAdapter(config, name) for name in sorted(config.latent_sizes)})
        self.marks = nn.ParameterDict({name: torch.randn(config.hidden_size) * 0.02 for name in config.further})
        self.norm = build_norm(config)
        self.register_load_state_dict_pre_hook(_spread_null)  # type: ignore[no-untyped-call]

    def forward(
        self, condition: ConditionInput, draft: Tensor | None = None, hint: Tensor | None = None
    ) -> EmbeddedCondition:
        """The condition's tokens.

        Args:
            condition: of a batch.
            draft: [batch, draft, hidden], states of its tokens.
            hint: [batch, hint, hidden], states of its tokens.
        """
        batch, dropped = len(condition.task), condition.dropped
        if dropped is None:
            dropped = torch.zeros(batch, len(CONDITION_TYPES), dtype=torch.bool, device=condition.task.device)
        style = torch.where(dropped[:, STYLE], -1, condition.style) % self.style.num_embeddings
        null = self.null[condition.modality or NO_LATENTS].expand(batch, -1)
        tokens = torch.stack([self.task(condition.task), self.style(style), null], 1)  # [batch, 3, hidden]
        mask = torch.ones(batch, 3, dtype=torch.bool, device=dropped.device)
        parts, masks = [tokens], [mask]
        places, lengths = [nowhere(mask)], None
        if condition.modality and condition.hidden_states is not None and condition.attention_mask is not None:
            mask[:, 2] = dropped[:, LATENTS]  # a null stands in for what is dropped, never beside it
            latents = self.adapters[condition.modality](condition.hidden_states, condition.attention_mask)
            parts.append(latents.tokens.to(tokens))
            masks.append(latents.mask & ~dropped[:, LATENTS, None])
            own = latents.places if condition.ordered else None
            places.append(nowhere(latents.mask) if own is None else own)
            lengths = latents.lengths if condition.ordered else None
        if draft is not None and condition.draft_mask is not None:
            parts += [self.null[DRAFT_NULL].expand(batch, 1, -1), draft.to(tokens)]
            masks += [dropped[:, DRAFT, None], condition.draft_mask & ~dropped[:, DRAFT, None]]
            order = torch.arange(draft.shape[1], device=draft.device, dtype=torch.float32)
            places += [nowhere(masks[-2]), order.expand(batch, -1)]
        for name, further, mask in self._further(condition, hint):
            parts.append((further + self.marks[name]).to(tokens))
            masks.append(mask & ~dropped[:, CONDITION_TYPES.index(name), None])
            places.append(nowhere(mask))
        placed = torch.cat(places, 1) if draft is not None or lengths is not None else None
        return EmbeddedCondition(self.norm(torch.cat(parts, 1)), torch.cat(masks, 1), placed, lengths)

    def _further(self, condition: ConditionInput, hint: Tensor | None) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name, tokens and mask of each further input that the batch has and the decoder reads."""
        if hint is not None and condition.hint_mask is not None:
            yield "hint", hint, condition.hint_mask
        if condition.picture is not None and condition.picture_mask is not None and "picture" in self.marks:
            latents = self.adapters["image"](condition.picture, condition.picture_mask)
            yield "picture", latents.tokens, latents.mask


def nowhere(mask: Tensor) -> Tensor:
    """Places of condition tokens that belong nowhere in the text, float of the mask's shape."""
    return torch.full(mask.shape, torch.nan, device=mask.device)


def _spread_null(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Checkpoints from when all types shared one null condition: each gets it."""
    assert isinstance(module, ConditionEmbedder)
    shared = state.pop(f"{prefix}null", None)
    if shared is not None:
        state |= {f"{prefix}null.{name}": shared.clone() for name in module.null}


def task_index(config: DecoderConfig, names: Sequence[str]) -> Tensor:
    """int64 [batch]: rows of the task embedding."""
    return torch.tensor([config.tasks.index(name) for name in names])


def style_index(config: DecoderConfig, names: Sequence[str]) -> Tensor:
    """int64 [batch]: rows of the style embedding, -1 for no style."""
    return torch.tensor([config.styles.index(name) if name else -1 for name in names])
