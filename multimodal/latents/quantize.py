"""Hidden states to what is stored of them and back, and how far the two are apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from multimodal.storage import Storage

DTYPES = {Storage.FLOAT16: torch.float16, Storage.BFLOAT16: torch.bfloat16, Storage.INT8: torch.int8}
"""What the codes of each storage are."""

INT8_LEVELS = 127
"""Codes go from -127 to 127, so that a state and its negative are stored alike."""


@dataclass(frozen=True, slots=True)
class ErrorBound:
    """The largest error of a token among those that were measured.

    Args:
        absolute_l2: L2 norm of (stored - encoded).
        relative_l2: the same over the L2 norm of the encoded token.
    """

    absolute_l2: float = 0.0
    relative_l2: float = 0.0

    @classmethod
    def largest(cls, bounds: Iterable[ErrorBound]) -> Self:
        """The bound of everything that several bounds are about."""
        known = list(bounds)
        absolute = max((bound.absolute_l2 for bound in known), default=0.0)
        return cls(absolute, max((bound.relative_l2 for bound in known), default=0.0))

    @classmethod
    def read(cls, values: dict[str, Any] | None) -> Self | None:
        """The bound that an index holds; None where it was never measured."""
        return None if values is None else cls(values["absolute_l2"], values["relative_l2"])


@dataclass(frozen=True, slots=True)
class QuantizedStates:
    """Hidden states as they are stored.

    Args:
        codes: [tokens, hidden_size] in the dtype of the storage.
        scales: float32 [tokens], which codes are multiplied by; int8 only.
        errors: float64 [tokens, 2], absolute and relative L2 error of each token.
    """

    codes: Tensor
    scales: Tensor | None
    errors: Tensor

    @property
    def is_finite(self) -> bool:
        """Whether all states are numbers that the storage can hold."""
        kept = self.codes if self.scales is None else self.scales
        return bool(torch.isfinite(kept).all())

    @property
    def error_bound(self) -> ErrorBound:
        """The largest errors of these tokens."""
        return ErrorBound(*self.errors.amax(0).tolist()) if len(self.errors) else ErrorBound()

    def states(self) -> Tensor:
        """What a reader gets, float32 [tokens, hidden_size]."""
        return dequantize(self.codes, self.scales)

    def cpu(self) -> QuantizedStates:
        """The same in the computer's own memory."""
        scales = None if self.scales is None else self.scales.cpu()
        return QuantizedStates(self.codes.cpu(), scales, self.errors.cpu())

    @classmethod
    def join(cls, parts: Sequence[QuantizedStates]) -> Self:
        """The tokens of several parts, one after the other; no parts give no tokens."""
        if not parts:
            return cls(torch.empty(0, 0), None, torch.empty(0, 2, dtype=torch.float64))
        scales = [part.scales for part in parts if part.scales is not None]
        codes, errors = torch.cat([part.codes for part in parts]), torch.cat([part.errors for part in parts])
        return cls(codes, torch.cat(scales) if scales else None, errors)

    def split(self, lengths: Sequence[int]) -> list[QuantizedStates]:
        """Cut into parts of so many tokens each."""
        sizes = list(lengths)
        codes, errors = torch.split(self.codes, sizes), torch.split(self.errors, sizes)
        scales = [None] * len(sizes) if self.scales is None else torch.split(self.scales, sizes)
        return [QuantizedStates(*parts) for parts in zip(codes, scales, errors, strict=True)]


def quantize(states: Tensor, storage: Storage) -> QuantizedStates:
    """What is stored of hidden states, rounded to nearest, on the device where they are.

    Args:
        states: [tokens, hidden_size], of any floating type; compared as float32.
    """
    states = states.float()
    if storage is Storage.INT8:
        scales = states.abs().amax(-1) / INT8_LEVELS
        # A token of zeros has the scale 0, and 0 / 0 is no number.
        divisors = scales.where(scales > 0, 1)[:, None]
        codes = (states / divisors).round().clamp(-INT8_LEVELS, INT8_LEVELS).to(torch.int8)
        return QuantizedStates(codes, scales, _errors(states, dequantize(codes, scales)))
    codes = states.to(DTYPES[storage])
    return QuantizedStates(codes, None, _errors(states, codes.float()))


def dequantize(codes: Tensor, scales: Tensor | None) -> Tensor:
    """float32 states [..., tokens, hidden_size] from codes, and from scales [..., tokens] where there are any."""
    return codes.float() if scales is None else codes.float() * scales[..., None]


def _errors(states: Tensor, stored: Tensor) -> Tensor:
    # Norms in float64: the squares of values that float32 and bfloat16 can hold do not fit into float32.
    absolute, norms = (
        torch.linalg.vector_norm(part, dim=-1, dtype=torch.float64) for part in (stored - states, states)
    )
    return torch.stack([absolute, absolute / norms.where(norms > 0, 1)], dim=-1)
