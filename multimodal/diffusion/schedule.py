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


SCHEDULES: dict[str, type[Schedule]] = {"linear": LinearSchedule, "cosine": CosineSchedule}
