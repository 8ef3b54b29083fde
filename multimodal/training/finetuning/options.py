"""What can be said about a training that starts from another model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from multimodal.options import Options

Part = Literal["backbone", "embeddings", "adapters", "condition"]
"""Parts of a decoder that can be frozen; see `multimodal.training.finetuning.trainable`."""

LoraTarget = Literal["query", "key_value", "output", "gate_up", "down"]


class LoraOptions(Options):
    """Low-rank adapters in the blocks, whose own weights are frozen then (LoRA, Hu et al. 2021).

    Args:
        rank: of the change of each matrix.
        alpha: the change is scaled by alpha / rank.
        dropout: on the adapters' input.
        targets: matrices that get one: of both attentions `query`, `key_value` and `output`, of the feed-forward layer
            `gate_up` and `down`.
    """

    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[LoraTarget, ...] = Field(default=("query", "key_value", "output", "gate_up", "down"), min_length=1)


class RehearseOptions(Options):
    """Samples that the starting model was trained with, among the new ones, and scores on its val split.

    Args:
        share: of each batch; 0: what is forgotten is only measured.
        run: folder of the training whose dataset and latents are taken, `checkpoints/<fingerprint>`; None: the one
            that `init_from` lies in.
    """

    share: float = Field(default=0.25, ge=0, lt=1)
    run: Path | None = None
