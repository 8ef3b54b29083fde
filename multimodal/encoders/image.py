"""The image encoder: any open_clip tower; tokens are the positions of its deepest feature map that is fine enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from multimodal.encoders.base import Encoder, EncoderOutput, Preparation, TokenRate, pick_device
from multimodal.encoders.open_clip_models import open_clip_model, save_open_clip
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.pixels import normalisation_of, normalise, to_pixels
from multimodal.encoders.weights import state_digest
from multimodal.fingerprint import digest, new_folder
from multimodal.ingest.pictures import decode_picture
from multimodal.sample import Modality

MIN_POSITIONS = 36
"""A convolutional tower's last map may be too coarse to tell objects apart: the deepest of at least this many
positions is taken, for published towers their last one."""


class ImageEncoder(Encoder):
    """A frozen open_clip model.

    Args:
        model: image and text tower; both are kept, since alignment scores need the text tower.
        config: `{"model_cfg": ..., "preprocess_cfg": ...}` as open_clip's folders hold it.
        preprocess: transform of a PIL picture to a float tensor [3, height, width].
        downsample: squares of this many positions a side become their mean.
        device: where the model runs; outputs are on the CPU.
    """

    modality = Modality.IMAGE

    def __init__(
        self,
        model: Any,
        config: dict[str, Any],
        preprocess: Any,
        downsample: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.model = model.to(self.device).float().eval().requires_grad_(False)
        self.config = config
        self.downsample = downsample
        self._preprocess = preprocess
        self._normalisation = normalisation_of(preprocess)
        size = config["model_cfg"]["vision_cfg"].get("image_size", 224)
        self.picture_size = height, width = size if isinstance(size, list | tuple) else (size, size)
        with torch.no_grad():
            blank = torch.zeros(1, 3, height, width, device=self.device)
            tokens, pooled = image_states(self.model, blank, downsample)
        self.hidden_size, self.pooled_size = tokens.shape[-1], pooled.shape[-1]
        self.tokens = TokenRate(tokens.shape[1], "picture")
        self.preprocessing_hash = digest(["open_clip", config["preprocess_cfg"], [height, width], str(preprocess)])
        self.weights_sha256 = state_digest(model.state_dict(), as_float=False)
        parts = ["open_clip", MIN_POSITIONS, downsample, config, str(preprocess), self.weights_sha256]
        self.fingerprint = digest(parts)[:16]

    def preprocess(self, data: bytes) -> Tensor:
        """The decoded picture, turned upright, in RGB, resized and normalised: float32 [3, height, width].

        Raises:
            MediaError: the bytes cannot be decoded.
        """
        tensor: Tensor = self._preprocess(decode_picture(data))
        return tensor

    def preparation(self) -> Preparation:
        """Pictures as bytes [3, height, width], a quarter of the memory; `encode` normalises them by the batch."""
        return Preparation(decode_picture, to_pixels(self._preprocess))

    @torch.no_grad()  # not inference_mode, under which open_clip's attention takes a slow path on CPUs
    def encode(self, batch: Sequence[Tensor]) -> EncoderOutput:
        """Tokens [b, positions, channels], all real, and the normalised CLIP embedding."""
        pixels = normalise(torch.stack(list(batch)).to(self.device), self._normalisation)
        tokens, pooled = image_states(self.model, pixels, self.downsample)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
        return EncoderOutput(tokens.float().cpu(), mask, pooled.float().cpu())

    @property
    def has_text_side(self) -> bool:
        """Whether it is a CLIP model with a text tower of open_clip's own vocabulary."""
        from multimodal.encoders.clip_text import has_text_tower

        return has_text_tower(self)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """CLIP embeddings of texts; see `multimodal.encoders.clip_text`."""
        from multimodal.encoders.clip_text import embed_texts

        return embed_texts(self, texts)

    def save(self, folder: Path) -> None:
        """Write the folder that open_clip reads as `local-dir:`; in float16 where that loses nothing."""
        with new_folder(folder) as new:
            save_open_clip(self.model, self.config, new)


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """What a tower takes, and how fine its map is.

    Args:
        height, width: pixels.
        mean, std: of the normalisation, by channel.
        map_side: positions along a side of the token map (of a square picture).
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    map_side: int


def picture_format(options: EncoderOptions) -> PictureFormat:
    """The format of the tower that the options name."""
    encoder = build_image_encoder(options)
    normalise = next(step for step in encoder._preprocess.transforms if hasattr(step, "std"))
    height, width = encoder.picture_size
    states, _ = image_states(encoder.model, torch.zeros(1, 3, height, width))
    return PictureFormat(height, width, tuple(normalise.mean), tuple(normalise.std), math.isqrt(states.shape[1]))


def image_states(model: Any, pixels: Tensor, downsample: int = 1) -> tuple[Tensor, Tensor]:
    """Tokens [b, positions, channels] and normalised embeddings [b, embed] of pixels [b, 3, height, width]."""
    output = model.visual.forward_intermediates(pixels)
    positions = avg_pool2d(deepest_map(output["image_intermediates"]), downsample, ceil_mode=True)
    tokens = positions.flatten(2).transpose(1, 2)
    return tokens, torch.nn.functional.normalize(output["image_features"].float(), dim=-1)


def deepest_map(maps: Sequence[Tensor]) -> Tensor:
    """The last map [b, channels, height, width] of at least `MIN_POSITIONS` positions."""
    fine = [each for each in maps if each.shape[-2] * each.shape[-1] >= MIN_POSITIONS]
    return (fine or list(maps))[-1]


def build_image_encoder(options: EncoderOptions) -> ImageEncoder:
    """The image encoder that the options name, of kind `open_clip`.

    `weights` may be a folder as `ImageEncoder.save` writes it, a file for the architecture `model`, a pretrained tag of
    the open_clip model `model`, or without `model` a hub id of open_clip's layout. Without weights the tower is fresh.

    Raises:
        EncoderError: architecture or weights are unknown, pickled where this is not allowed, or cannot be reached.
    """
    loaded = open_clip_model(options)
    return ImageEncoder(loaded.model, loaded.config, loaded.preprocess, options.downsample, pick_device(options.device))
