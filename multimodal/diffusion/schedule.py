"""Noise schedules: how likely a token is still clean at time t, and how fast that falls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ScheduleOutput:
    """Value and derivative of a schedule, each of the shape of `t`."""

    alpha: Tensor
    d_alpha: Tensor


class Schedule(ABC):
    """alpha(t) with alpha(0) = 1, alpha(1) = 0, monotonically falling."""

    @abstractmethod
    def __call__(self, t: Tensor) -> ScheduleOutput:
        """alpha and d alpha / d t at times `t` in [0, 1]."""


class LinearSchedule(Schedule):
    """alpha(t) = 1 - t (MDLM's log-linear schedule, Sahoo et al. 2024; LLaDA, Nie et al. 2025)."""

    def __call__(self, t: Tensor) -> ScheduleOutput:
        """alpha = 1 - t."""
        return ScheduleOutput(1 - t, -torch.ones_like(t))


class CosineSchedule(Schedule):
    """alpha(t) = 1 - cos(pi/2 (1 - t)) (MaskGIT's cosine, Chang et al. 2022; MD4, Shi et al. 2024)."""

    def __call__(self, t: Tensor) -> ScheduleOutput:
        """alpha = 1 - cos(pi/2 (1 - t))."""
        angle = torch.pi / 2 * (1 - t)
        return ScheduleOutput(1 - torch.cos(angle), -torch.pi / 2 * torch.sin(angle))


def stratified_times(batch: int, generator: torch.Generator, at_one: float, skew: float = 1.0) -> Tensor:
    """Times in (0, 1] to train on, float [batch], the share `at_one` of them 1, where sampling starts.

    One lies in each of `batch` equal parts: stratification lowers the variance of the loss. A `skew` above 1 moves all
    of them towards 1.
    """
    t = 1 - ((torch.arange(batch) + torch.rand(batch, generator=generator)) / batch) ** skew
    return torch.where(torch.rand(batch, generator=generator) < at_one, 1.0, t)


SCHEDULES: dict[str, type[Schedule]] = {"linear": LinearSchedule, "cosine": CosineSchedule}
