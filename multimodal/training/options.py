"""What can be said about the tokenizer, the decoder, its training and its sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from multimodal.options import Options
from multimodal.sample import Task


class TokenizerOptions(Options):
    """A byte-level BPE tokenizer, trained on the texts of the train split.

    Args:
        vocab_size: entries, special tokens and the 256 bytes included.
        max_tokens: longest text in tokens, end token included: the size of the decoder's canvas.
    """

    vocab_size: int = Field(default=1024, ge=300)
    max_tokens: int = Field(default=40, ge=4)


class DecoderOptions(Options):
    """Size of the cross-attention decoder."""

    hidden_size: int = Field(default=192, ge=16)
    num_layers: int = Field(default=4, ge=1)
    num_heads: int = Field(default=6, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class TrainOptions(Options):
    """How the decoder is trained.

    Args:
        tasks: task -> weight: its share of each batch, among the tasks that the dataset holds.
        optimizer: `muon` for the matrices of the blocks with AdamW for the rest, or `adamw` for all.
        condition_dropout: probability that a sample's condition is replaced by the learned null condition
            (classifier-free guidance).
        full_mask: probability that a sample's canvas is wholly masked (high-mask specialisation).
        eval_every: optimiser steps between two scores *sampled* on the val split.
        patience: stop after this many scores without a better one; None never stops early.
        init_from: checkpoint folder to start from.
    """

    tasks: dict[Task, float] = dict.fromkeys(Task, 1.0)
    steps: int = Field(default=2000, ge=1)
    max_minutes: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=96, ge=1)
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    warmup_steps: int = Field(default=100, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    condition_dropout: float = Field(default=0.1, ge=0, lt=1)
    full_mask: float = Field(default=0.3, ge=0, le=1)
    mixed_precision: Literal["auto", "no", "bf16"] = "auto"
    eval_every: int = Field(default=400, ge=1)
    eval_samples: int = Field(default=48, ge=1)
    patience: int | None = Field(default=None, ge=1)
    checkpoint_every: int = Field(default=400, ge=1)
    init_from: Path | None = None


class SamplerOptions(Options):
    """How text is drawn from the decoder.

    Args:
        num_steps: most denoising steps, each one call of the denoiser (NFE).
        temperature: 0 takes the likeliest token; above, tokens are drawn.
        guidance_scale: classifier-free guidance w in log p_null + w (log p_cond - log p_null); 1 is off.
        threshold: unmask every token at least this confident; each step unmasks at least its share of the rest.
        seed: with the sample's id, all that a drawn text depends on.
    """

    num_steps: int = Field(default=6, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    guidance_scale: float = Field(default=1.0, ge=0)
    threshold: float = Field(default=0.9, gt=0, le=1)
    seed: int = 0
