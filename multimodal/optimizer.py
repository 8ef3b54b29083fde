"""Optimisers and the learning rate's schedule, for the decoder as for the towers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

MUON_RATE = 2.0
"""Muon's learning rate over AdamW's; 2 beat 1 on the sample corpus (conf/LOG.md)."""


def build_optimizers(
    model: nn.Module, hidden: nn.Module, name: Literal["muon", "adamw"], weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Optimisers that share out a model's parameters; weight decay falls on matrices only.

    `muon` trains the matrices inside `hidden` with Muon (Jordan et al. 2024), scaled to the update size of AdamW so
    that both take one learning rate (Liu et al. 2025, arXiv 2502.16982), and all the rest with AdamW. `adamw` trains
    everything with AdamW.

    Args:
        model: all that is trained.
        hidden: its inner layers, without embeddings and inputs of their own width.
        name: which.
        weight_decay: decoupled.
    """
    inner = {id(p) for p in hidden.parameters() if p.ndim == 2 and p.requires_grad} if name == "muon" else set()
    parameters = [p for p in model.parameters() if p.requires_grad]
    rest = [p for p in parameters if id(p) not in inner]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, fused=True, betas=(0.9, 0.98))]
    if inner:
        matrices = [p for p in parameters if id(p) in inner]
        optimizers.append(torch.optim.Muon(matrices, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Give all parameter groups the learning rate `rate`, Muon's its multiple of it."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * (MUON_RATE if "ns_steps" in group else 1.0)


def warmup_cosine(step: int, warmup_steps: int, share_done: float, floor: float = 0.01) -> float:
    """Factor of the peak learning rate: linear warm-up, then a cosine to `floor`.

    Args:
        step: optimiser steps done.
        warmup_steps: after which the peak is reached.
        share_done: of the whole training, in steps or in time, 0 to 1.
        floor: what is left at the end.
    """
    warmup = min(1.0, (step + 1) / max(1, warmup_steps))
    return warmup * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, share_done))))
