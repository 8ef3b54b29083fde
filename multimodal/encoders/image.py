"""The image encoder: any open_clip tower; tokens are the positions of its deepest feature map that is fine enough."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import avg_pool2d

from multimodal.encoders.base import Encoder, EncoderOutput, pick_device
from multimodal.encoders.hub import is_local, require_reachable, shipped_instead
from multimodal.encoders.options import EncoderOptions
from multimodal.errors import EncoderError
from multimodal.fingerprint import digest, new_folder, write_file, write_json
from multimodal.ingest.pictures import decode_picture
from multimodal.sample import Modality

MIN_POSITIONS = 36
"""A convolutional tower's last map may be too coarse to tell objects apart: the deepest of at least this many
positions is taken, for published towers their last one."""

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
"""open_clip's own layout of a local folder."""

OPEN_CLIP_FILES = (WEIGHTS, "open_clip_pytorch_model.bin")
"""What the hub's cache holds of a model that open_clip has loaded before."""


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
        size = config["model_cfg"]["vision_cfg"].get("image_size", 224)
        self.picture_size = height, width = size if isinstance(size, list | tuple) else (size, size)
        with torch.no_grad():
            tokens, pooled = image_states(self.model, torch.zeros(1, 3, height, width, device=self.device))
        self.hidden_size, self.pooled_size = tokens.shape[-1], pooled.shape[-1]
        self.fingerprint = digest(
            ["open_clip", MIN_POSITIONS, downsample, config, str(preprocess), _weights_digest(model)]
        )[:16]

    def preprocess(self, data: bytes) -> Tensor:
        """The decoded picture, turned upright, in RGB, resized and normalised: float32 [3, height, width].

        Raises:
            MediaError: the bytes cannot be decoded.
        """
        tensor: Tensor = self._preprocess(decode_picture(data))
        return tensor

    @torch.no_grad()  # not inference_mode, under which open_clip's attention takes a slow path on CPUs
    def encode(self, batch: Sequence[Tensor]) -> EncoderOutput:
        """Tokens [b, positions, channels], all real, and the normalised CLIP embedding."""
        tokens, pooled = image_states(self.model, torch.stack(list(batch)).to(self.device), self.downsample)
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
        state = {name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
        if all(torch.equal(tensor.half().float(), tensor) for tensor in floats.values()):
            state |= {name: tensor.half() for name, tensor in floats.items()}
        with new_folder(folder) as new:
            write_json(new / CONFIG, self.config)
            write_file(new / WEIGHTS, save(state, metadata={"format": "pt"}))


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
    """The image encoder that the options name.

    `weights` may be a folder as `ImageEncoder.save` writes it, a safetensors file for the architecture `model`, or
    a pretrained tag of the open_clip model `model`. Without weights the tower is fresh.

    Raises:
        EncoderError: architecture or weights are unknown, not safetensors, or cannot be reached.
    """
    if options.weights is not None and is_local(options.weights):
        config, state = _read_local(Path(options.weights), options.model)
        model, preprocess = _create(config)
        _load_state(model, state, options.weights)
    elif options.weights is None:
        torch.manual_seed(options.pretrain.seed)
        config = _architecture(options.model)
        model, preprocess = _create(config)
    else:
        config = _architecture(options.model)
        model, preprocess = _create_pretrained(str(options.model), options.weights)
        config["preprocess_cfg"] = {
            key: value for key, value in model.visual.preprocess_cfg.items() if key not in ("size", "mode")
        }
    return ImageEncoder(model, config, preprocess, options.downsample, pick_device(options.device))


def _architecture(name: str | None) -> dict[str, Any]:
    """The configuration of a JSON file or of a model that open_clip knows."""
    import open_clip

    if name is None:
        raise EncoderError("the image encoder needs `model`: an open_clip name such as ViT-B-32, or a JSON file")
    if name.endswith(".json"):
        path = Path(name)
        if not path.is_file():
            raise EncoderError(f"no image architecture at {name}; conf/models/sample-vision.json is one")
        values = json.loads(path.read_text())
        return values if "model_cfg" in values else {"model_cfg": values, "preprocess_cfg": {}}
    values = open_clip.get_model_config(name)
    if values is None:
        some = ", ".join(open_clip.list_models()[:3])
        raise EncoderError(f"open_clip knows no model '{name}'; it knows {some} ... (open_clip.list_models())")
    return {"model_cfg": values, "preprocess_cfg": {}}


def _read_local(path: Path, model: str | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if path.is_dir() and (path / CONFIG).is_file() and (path / WEIGHTS).is_file():
        return json.loads((path / CONFIG).read_text()), load_file(path / WEIGHTS)
    if path.is_file() and path.suffix == ".safetensors":
        return _architecture(model), load_file(path)
    if path.is_file():
        raise EncoderError(f"{path} is not safetensors; convert it, since pickled weights can run code when loaded")
    raise EncoderError(
        f"no image encoder at {path}: expected a .safetensors file, or a folder with {CONFIG}, {WEIGHTS}"
    )


def _create(config: dict[str, Any]) -> tuple[Any, Any]:
    from open_clip import CLIP, CustomTextCLIP
    from open_clip.transform import PreprocessCfg, image_transform_v2

    values = dict(config["model_cfg"])
    kind = CustomTextCLIP if values.pop("custom_text", False) else CLIP
    model = kind(**values)
    preprocess = {**config["preprocess_cfg"], "size": model.visual.image_size}
    return model, image_transform_v2(PreprocessCfg(**preprocess), is_train=False)


def _create_pretrained(name: str, tag: str) -> tuple[Any, Any]:
    import open_clip

    source = open_clip.get_pretrained_cfg(name, tag)
    if not source:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise EncoderError(f"'{name}' has no pretrained weights '{tag}'; it has: {known}")
    require_reachable(
        str(source.get("hf_hub", "")).rstrip("/") or name, shipped_instead("data/encoders/image"), OPEN_CLIP_FILES
    )
    # weights_only, open_clip's default: old tags that were published as pickles cannot run code either.
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=tag)
    return model, preprocess


def _load_state(model: Any, state: dict[str, Tensor], name: str) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise EncoderError(f"weights of {name} do not fit the architecture: {str(error)[:300]}") from error


def _weights_digest(model: Any) -> str:
    """SHA-256 over all weights."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        hasher.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()
