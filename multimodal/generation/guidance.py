"""Guidance: what is written follows its condition, or parts of it, more than the model does by itself.

With p_-i for the model without type i of the condition (latents, draft, style, hint, picture), a scale w_i for each
composes to

    log p  +  sum_i (w_i - 1) (log p - log p_-i)

(Liu et al. 2022 compose concepts likewise; Brooks et al. 2023 guide by picture and text). A scale of 1 asks for
nothing and costs no call. `guidance_scale` w drops all types at once, which is classifier-free guidance (Ho and
Salimans 2022): log p_null + w (log p - log p_null).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from multimodal.decoder import CONDITION_TYPES, Condition, ConditionInput, CrossAttentionDecoder
from multimodal.training.options import SamplerOptions


@dataclass(frozen=True, slots=True)
class GuidedCondition:
    """The conditional pass and the passes without parts of the condition, as one batch.

    Args:
        condition: of passes * batch rows, pass by pass, the conditional one first.
        weights: of each pass's log-probabilities; their sum is 1.
    """

    condition: Condition
    weights: tuple[float, ...]

    @property
    def batch(self) -> int:
        """Rows of one pass."""
        return len(self.condition.bias) // len(self.weights)

    @property
    def passes(self) -> list[Condition]:
        """The condition of each pass on its own."""
        index = torch.arange(len(self.condition.bias), device=self.condition.bias.device)
        return [self.condition.rows(part) for part in index.view(len(self.weights), -1)]

    def logits(
        self, decoder: CrossAttentionDecoder, tokens: Tensor, rows: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        """Guided logits [rows, length, vocab] of some rows of the batch, all passes in one call.

        Args:
            decoder: asked once.
            tokens: int64 [rows, length].
            rows: int64 [rows], their indices in the batch.
            positions: bool [rows, length]; logits are then those of these alone, [count, vocab].
        """
        passes = len(self.weights)
        if passes == 1:
            plain: Tensor = decoder(tokens, self.condition.rows(rows), positions)
            return plain
        starts = self.batch * torch.arange(passes, device=rows.device)[:, None]
        condition = self.condition.rows((starts + rows).flatten())
        logits = decoder(
            tokens.repeat(passes, 1), condition, None if positions is None else positions.repeat(passes, 1)
        )
        weights = torch.tensor(self.weights, device=logits.device)
        log_probs = logits.float().log_softmax(-1).unflatten(0, (passes, -1))
        return torch.einsum("p,p...->...", weights, log_probs)


def guide(decoder: CrossAttentionDecoder, condition: ConditionInput, options: SamplerOptions) -> GuidedCondition:
    """The condition of a batch with all passes that its guidance needs."""
    passes: list[tuple[float, tuple[str, ...]]] = [(options.guidance_scale, CONDITION_TYPES)]
    passes += [(scale, (name,)) for name, scale in options.guidance.items()]
    present = _present(condition)
    passes = [(scale, names) for scale, names in passes if scale != 1 and present & set(names)]
    extra = [scale - 1 for scale, _ in passes]
    drops = [_drop(condition, names) for _, names in passes]
    weights = (1 + sum(extra), *(-weight for weight in extra))
    return GuidedCondition(decoder.condition(_stacked(condition, drops)), weights)


def _present(condition: ConditionInput) -> set[str]:
    """The types that any row has: dropping another changes nothing."""
    styled = bool((condition.style >= 0).any())
    tensors = (condition.hidden_states, condition.draft, condition.hint, condition.picture)
    latents, draft, hint, picture = (tensor is not None for tensor in tensors)
    found = latents, draft, styled, hint, picture
    return {name for name, is_there in zip(CONDITION_TYPES, found, strict=True) if is_there}


def _drop(condition: ConditionInput, names: tuple[str, ...]) -> Tensor:
    assert condition.dropped is not None
    chosen = torch.tensor([name in names for name in CONDITION_TYPES], device=condition.dropped.device)
    return condition.dropped | chosen


def _stacked(condition: ConditionInput, drops: list[Tensor]) -> ConditionInput:
    """The same rows once more for each of `drops`, with those types dropped."""
    assert condition.dropped is not None
    tensors = {field.name: getattr(condition, field.name) for field in fields(condition)}
    repeated: dict[str, Any] = {
        name: tensor.repeat(1 + len(drops), *[1] * (tensor.dim() - 1))
        for name, tensor in tensors.items()
        if isinstance(tensor, Tensor)
    }
    return replace(condition, **{**repeated, "dropped": torch.cat([condition.dropped, *drops])})
