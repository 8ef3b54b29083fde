"""The image tower, from scratch or from weights, by a contrastive loss of open_clip's against its text tower.

Whole pictures are matched with their captions (CLIP, Radford et al., 2021, or SigLIP, Zhai et al., 2023). A pooled
vector alone would leave little in the *positions* that a decoder reads, so two more losses may act on them: where the
data says which region shows what, regions are matched with phrases (RegionCLIP, Zhong et al., 2022); and a throwaway
decoder may have to write the caption from them (CoCa, Yu et al., 2022).
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal.encoders.clip_text import text_ids
from multimodal.encoders.image import ImageEncoder, build_image_encoder, deepest_map
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.pretraining.contrast import clamp_scale, contrastive_loss, encode_texts, prepare_loss
from multimodal.encoders.pretraining.lora import add_adapters, hold_statistics, merged
from multimodal.encoders.pretraining.options import PretrainOptions
from multimodal.optimizer import warmup_cosine

Progress = Callable[[int, int], None]
Log = Callable[[int, Mapping[str, float]], None]

_LOG_EVERY = 25
_VOCABULARY = 49_408
"""Of open_clip's own tokenizer."""


@dataclass(frozen=True, slots=True)
class PictureBatch:
    """Pictures with captions and, where known, what their regions show.

    Args:
        pixels: float32 [batch, 3, height, width], normalised.
        captions: one per picture.
        regions: float32 [regions, batch * positions]: each row averages the positions of one region; None: unknown.
        phrases: what each region shows.
    """

    pixels: Tensor
    captions: tuple[str, ...]
    regions: Tensor | None = None
    phrases: tuple[str, ...] = field(default=())


class Pictures(Protocol):
    """Endless training batches, a pure function of the step."""

    def batch(self, step: int, size: int) -> PictureBatch:
        """The batch of one step."""


@dataclass(frozen=True, slots=True)
class ImagePretraining:
    """What came out of pretraining."""

    encoder: ImageEncoder
    steps: int
    minutes: float


class _Trainee(nn.Module):
    """Image and text tower with the heads that training needs and nobody keeps.

    With adapters the towers' own weights stay; scale and bias, which belong to the loss, are learnt either way.
    """

    def __init__(self, encoder: ImageEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder, self.model = encoder, encoder.model
        channels, embed = encoder.hidden_size, encoder.pooled_size
        self.region_head = nn.Linear(channels, embed)
        self.region_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.captioner = _Captioner(channels, _VOCABULARY) if options.captioning_weight > 0 else None
        self.requires_grad_(True)
        self.adapted = add_adapters(self.model, options.lora) if options.lora else None
        self.model.logit_scale.requires_grad_(True)
        if self.model.logit_bias is not None:
            self.model.logit_bias.requires_grad_(True)
        self.train()
        if self.adapted is not None:
            hold_statistics(self.model)

    def frozen(self, rounded: bool) -> ImageEncoder:
        """A copy of the tower as it is now, an ordinary one.

        Args:
            rounded: to the float16 in which towers that are trained from scratch are shipped.
        """
        encoder = self.encoder
        model = merged(copy.deepcopy(self.adapted)) if self.adapted is not None else copy.deepcopy(self.model)
        if rounded:
            for tensor in model.state_dict().values():
                if tensor.is_floating_point():
                    tensor.copy_(tensor.half())
        return ImageEncoder(model, encoder.config, encoder._preprocess, encoder.downsample, encoder.device)


class _Captioner(nn.Module):
    """A small causal decoder over the words of a batch's captions; its vocabulary is the text tower's."""

    def __init__(self, channels: int, vocab_size: int, size: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, size)
        self.position = nn.Parameter(torch.randn(96, size) * 0.02)
        self.grid = nn.Parameter(torch.randn(512, size) * 0.02)
        self.project = nn.Linear(channels, size)
        block = nn.TransformerDecoderLayer(size, 4, 4 * size, 0.0, "gelu", batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(block, layers)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, states: Tensor, ids: Tensor) -> Tensor:
        """Cross-entropy of each next token; ids: int64 [batch, length], 0 is padding."""
        before, after = ids[:, :-1], ids[:, 1:]
        memory = self.project(states) + self.grid[: states.shape[1]]
        causal = nn.Transformer.generate_square_subsequent_mask(before.shape[1])
        x = self.embedding(before) + self.position[: before.shape[1]]
        x = self.decoder(x, memory, tgt_mask=causal.to(x), tgt_is_causal=True)
        # Only ids of the batch can be right or are worth telling apart: 49,408 columns would cost more than all else.
        known, targets = torch.unique(after, return_inverse=True)
        logits = functional.linear(x, self.embedding.weight[known])
        weights = (after != 0).float()
        losses = functional.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
        return (losses * weights).sum() / weights.sum()


def pretrain_image(
    options: EncoderOptions, pictures: Pictures, progress: Progress | None = None, log: Log | None = None,
    checkpoint: Callable[[ImageEncoder], None] | None = None,
) -> ImagePretraining:  # fmt: skip
    """Train image and text tower until steps or minutes run out, from scratch or from `pretrain.start`.

    Args:
        options: architecture, and how to train; its `weights` are not read.
        pictures: where batches come from.
        progress: receives (done, total), in steps or, where minutes bind, in the share that they allow.
        log: receives (step, metrics).
        checkpoint: receives an encoder of the weights so far, every 500 steps.

    Raises:
        EncoderError: the weights to start from, or the architecture, cannot be had or have no text tower; or the
            adapters' targets fit nothing.
    """
    how = options.pretrain
    encoder = build_image_encoder(options.model_copy(update={"weights": how.start}))
    text_ids(encoder, ["a text"])  # refused before anything is changed
    torch.manual_seed(how.seed)
    prepare_loss(encoder, how.contrastive_loss)
    trainee = _Trainee(encoder, how).to(encoder.device)
    trainee.model.visual.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        _groups(trainee, how.weight_decay), lr=how.learning_rate, betas=(0.9, 0.98), fused=True
    )
    started, step, done = time.monotonic(), 0, 0.0
    while done < 1:
        for group in optimizer.param_groups:
            group["lr"] = how.learning_rate * warmup_cosine(step, how.warmup_steps, done, floor=0)
        losses = _losses(trainee, pictures.batch(step, how.batch_size), how)
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimizer.step()
        clamp_scale(trainee.model)
        step += 1
        minutes = (time.monotonic() - started) / 60
        done = max(step / how.steps, minutes / how.max_minutes if how.max_minutes else 0.0)
        if progress:
            progress(round(done * how.steps), how.steps)
        if log and (step % _LOG_EVERY == 0 or done >= 1):
            log(step, {"minutes": minutes, **{name: value.item() for name, value in losses.items()}})
        if checkpoint and step % 500 == 0:
            checkpoint(trainee.frozen(rounded=how.start is None))
    return ImagePretraining(trainee.frozen(rounded=how.start is None), step, minutes)


def _losses(trainee: _Trainee, batch: PictureBatch, how: PretrainOptions) -> dict[str, Tensor]:
    model, device = trainee.model, trainee.encoder.device
    ids = text_ids(trainee.encoder, batch.captions)[0].to(device)
    pixels = batch.pixels.to(device, memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        output = model.visual.forward_intermediates(pixels)
        states = deepest_map(output["image_intermediates"]).flatten(2).transpose(1, 2)
        pooled = functional.normalize(output["image_features"].float(), dim=-1)
        text = functional.normalize(encode_texts(model, ids).float(), dim=-1)
        losses = {"contrastive": contrastive_loss(model, pooled, text, how.contrastive_loss)}
        if batch.regions is not None:
            losses["regions"] = _region_loss(trainee, states, batch)
        if trainee.captioner is not None:
            longest = int((ids != 0).sum(1).max())
            losses["captions"] = how.captioning_weight * trainee.captioner(states.float(), ids[:, :longest])
    return losses


def _region_loss(trainee: _Trainee, states: Tensor, batch: PictureBatch) -> Tensor:
    """Cross-entropy of each region's own phrase among all phrases of the batch."""
    assert batch.regions is not None
    phrases = sorted(set(batch.phrases))
    ids = text_ids(trainee.encoder, phrases)[0].to(states.device)
    text = functional.normalize(encode_texts(trainee.model, ids).float(), dim=-1)
    pooled = batch.regions.to(states.device) @ trainee.region_head(states).float().flatten(0, 1)
    logits = trainee.region_scale.exp().clamp(max=100) * functional.normalize(pooled, dim=-1) @ text.T
    index = {phrase: row for row, phrase in enumerate(phrases)}
    targets = torch.tensor([index[phrase] for phrase in batch.phrases], device=states.device)
    return functional.cross_entropy(logits, targets)


def _groups(trainee: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    parameters = [parameter for parameter in trainee.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


class CaptionedPictures:
    """Training batches from a dataset's pictures: random crops and mirror images, a random caption of each.

    Args:
        pictures: decoded and resized pictures, uint8 [n, 3, height, width].
        captions: of each picture, at least one.
        mean, std: of the model's normalisation.
        seed: with the step, all that a batch depends on.
        smallest_crop, mirror: as of `PretrainOptions`.
    """

    def __init__(
        self,
        pictures: Tensor,
        captions: Sequence[Sequence[str]],
        mean: Sequence[float],
        std: Sequence[float],
        seed: int,
        smallest_crop: float = 0.7,
        mirror: bool = True,
    ) -> None:
        self.pictures, self.captions, self.seed = pictures, captions, seed
        self.smallest_crop, self.mirror = smallest_crop, mirror
        self.mean, self.std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def batch(self, step: int, size: int) -> PictureBatch:
        """Pictures drawn without replacement."""
        rng = random.Random(f"{self.seed}/{step}")
        chosen = rng.sample(range(len(self.pictures)), min(size, len(self.pictures)))
        pixels = torch.stack([self._augmented(self.pictures[index].float() / 255, rng) for index in chosen])
        return PictureBatch(
            (pixels - self.mean) / self.std, tuple(rng.choice(self.captions[index]) for index in chosen)
        )

    def _augmented(self, picture: Tensor, rng: random.Random) -> Tensor:
        height, width = picture.shape[-2:]
        side = [max(1, round(length * rng.uniform(self.smallest_crop, 1.0))) for length in (height, width)]
        top, left = rng.randint(0, height - side[0]), rng.randint(0, width - side[1])
        crop = picture[:, top : top + side[0], left : left + side[1]]
        crop = functional.interpolate(crop[None], (height, width), mode="bilinear", antialias=True)[0]
        return crop.flip(-1) if rng.random() < 0.5 and self.mirror else crop
