"""How a tower is trained: from scratch or from weights, whole or by adapters, by which loss, on what changed inputs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from multimodal.options import Options


class TowerLoraOptions(Options):
    """Low-rank adapters (Hu et al., 2021) beside a tower's matrices, trained in place of these and merged at the end.

    Args:
        rank: of the adapters.
        alpha: their products are scaled by alpha / rank.
        targets: names of modules, or how these names end: `q_proj`, `attn`, `mlp.c_fc`. None: all linear maps and
            attentions, or, in a convolutional tower, all convolutions.
    """

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    targets: tuple[str, ...] = ()


class SpecAugmentOptions(Options):
    """Masks over spectra (Park et al., 2019); what is masked is set to the spectrum's mean.

    Args:
        time_masks, frequency_masks: how many of each.
        time_share: of a clip's frames, that one mask takes at most.
        frequency_bins: that one mask takes at most.
    """

    time_masks: int = Field(default=2, ge=0)
    time_share: float = Field(default=0.06, ge=0, le=1)
    frequency_masks: int = Field(default=2, ge=0)
    frequency_bins: int = Field(default=12, ge=0)


class PretrainOptions(Options):
    """How a tower is trained.

    Args:
        start: weights to start from, named as `weights` of an encoder: an open_clip tag, a hub id, a local file or
            folder, or a registered encoder `models:/name/3`, `models:/name@champion`. None: from scratch.
        lora: train adapters beside the weights of `start` instead of these.
        steps: optimiser steps.
        batch_size: samples a step.
        learning_rate: peak of the warm-up and cosine schedule.
        max_minutes: stop early (with the schedule scaled to fit) when this runs out.
        seed: makes initialisation, data order and augmentation.
        contrastive_loss: image tower only: `clip` (softmax over the batch, Radford et al., 2021), or `siglip`
            (a sigmoid for each pair, with a bias learned beside the scale, Zhai et al., 2023).
        smallest_crop: image tower only, on a dataset: each visit shows a part of the picture, whose sides are at least
            this share of the whole ones; 1 shows all of it, as captions that name places want.
        mirror: image tower only, on a dataset: every other visit is mirrored, which captions that tell left from right
            do not bear.
        captioning_weight: image tower only: weight of the caption loss of a throwaway decoder on the patch states,
            beside the contrastive loss.
        spec_augment: audio tower only, where its inputs are spectra; null switches it off.
        speeds: audio tower only: each visit of a clip plays it at one of these, 1 is its own (Ko et al., 2015, take
            0.9, 1.0 and 1.1); empty: always its own.
        scored: at most so many samples of the val split score the tower before and after; 0: none.
    """

    start: str | None = None
    lora: TowerLoraOptions | None = None
    steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_steps: int = Field(default=100, ge=0)
    max_minutes: float | None = Field(default=None, gt=0)
    contrastive_loss: Literal["clip", "siglip"] = "clip"
    smallest_crop: float = Field(default=0.7, gt=0, le=1)
    mirror: bool = True
    captioning_weight: float = Field(default=0.0, ge=0)
    spec_augment: SpecAugmentOptions | None = SpecAugmentOptions()
    speeds: tuple[Annotated[float, Field(ge=0.5, le=2)], ...] = ()
    scored: int = Field(default=500, ge=0)
    seed: int = 0

    @model_validator(mode="after")
    def _adapters_need_a_start(self) -> PretrainOptions:
        if self.lora is not None and self.start is None:
            raise ValueError("lora adapts weights that are there: name them in `start`, or leave `lora` out")
        return self
