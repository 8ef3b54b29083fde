"""Image towers of transformers: SigLIP and SigLIP 2, DINOv2 and DINOv3, each with its own image processor.

SigLIP 2   Tschannen et al., 2025, https://arxiv.org/abs/2502.14786
DINOv2     Oquab et al., 2023, https://arxiv.org/abs/2304.07193
DINOv3     Simeoni et al., 2025, https://arxiv.org/abs/2508.10104
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize
from torch.nn.utils.rnn import pad_sequence

from multimodal.encoders.base import Encoder, EncoderOutput, Preparation, TokenRate, pick_device
from multimodal.encoders.hub import local_copy, no_progress_bars, shipped_instead
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.weights import LOAD_ERRORS, load_transformers, require_weights, state_digest
from multimodal.errors import EncoderError
from multimodal.fingerprint import digest, new_folder
from multimodal.ingest.pictures import decode_picture
from multimodal.sample import Modality

_WHAT = "image encoder"
_DROPPED = (
    "transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures", "_attn_implementation",
)  # fmt: skip
"""Of configurations: versions and paths, which make no other encoder."""


@dataclass(frozen=True, slots=True)
class Family:
    """How one type of model is loaded and read.

    Args:
        model_class: in transformers; None: the one that the configuration is for.
        prefix: number of states before those of the patches, by the configuration.
        stride: pixels of a patch's side, by the configuration.
    """

    model_class: str | None
    prefix: Callable[[Any], int]
    stride: Callable[[Any], int]


def _no_prefix(config: Any) -> int:
    return 0


def _class_and_registers(config: Any) -> int:
    return 1 + int(getattr(config, "num_register_tokens", 0))


def _patch_size(config: Any) -> int:
    return int(config.patch_size)


def _convolutions(config: Any) -> int:
    """The stem has stride 4, every further stage 2."""
    return 4 * int(2 ** (len(config.hidden_sizes) - 1))


_SIGLIP = Family("SiglipVisionModel", _no_prefix, _patch_size)
_SIGLIP2 = Family("Siglip2VisionModel", _no_prefix, _patch_size)
_DINO = Family(None, _class_and_registers, _patch_size)

FAMILIES: dict[str, Family] = {
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _SIGLIP2,
    "siglip2_vision_model": _SIGLIP2,
    "dinov2": _DINO,
    "dinov2_with_registers": _DINO,
    "dinov3_vit": _DINO,
    "dinov3_convnext": Family(None, _class_and_registers, _convolutions),
}
"""By `model_type` of the configuration. SigLIP 2 is published as `siglip` (one picture size) and as `siglip2` (NaFlex:
the picture keeps its shape, and has at most `max_num_patches` patches)."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """What a model takes of a PIL picture, by its image processor.

    Args:
        processor: of transformers.
        keeps_shape: whether pictures are cut into patches and keep their shape (NaFlex).
    """

    processor: Any
    keeps_shape: bool

    def __call__(self, picture: Image.Image) -> Tensor:
        """Float tensor [3, height, width], or patches [rows, columns, values of a patch]."""
        processed = self.processor(images=picture, return_tensors="pt")
        pixels: Tensor = processed["pixel_values"][0]
        if not self.keeps_shape:
            return pixels
        rows, columns = processed["spatial_shapes"][0].tolist()
        return pixels[: rows * columns].view(rows, columns, -1)


class VisionEncoder(Encoder):
    """A frozen image tower of transformers; one state per patch, squares of `downsample` a side averaged.

    The states of class and register tokens are left out. `pooled` is the model's own vector of the picture (the class
    token's state, SigLIP's attention pooling), normalised.

    Args:
        model: a transformers model of one of `FAMILIES`.
        processor: its image processor, which resizes and normalises as its preprocessor_config.json says.
        downsample: squares of this many patches a side become their mean.
        device: where the model runs; outputs are on the CPU.

    Raises:
        EncoderError: the model has no pooled vector, or its processor leaves pictures in different sizes.
    """

    modality = Modality.IMAGE

    def __init__(self, model: Any, processor: Any, downsample: int = 1, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.model = model.to(self.device).float().eval().requires_grad_(False)
        self.processor, self.downsample = processor, downsample
        family = FAMILIES[model.config.model_type]
        self._prefix, self._stride = family.prefix(model.config), family.stride(model.config)
        self._keeps_shape = model.config.model_type.startswith("siglip2")
        self.pixels = Pixels(processor, self._keeps_shape)
        self._probe()
        settings = {key: value for key, value in processor.to_dict().items() if key not in _DROPPED}
        self.preprocessing_hash = digest(["transformers", settings])
        self.weights_sha256 = state_digest(model.state_dict())
        architecture = {key: value for key, value in model.config.to_diff_dict().items() if key not in _DROPPED}
        self.fingerprint = digest(["transformers", downsample, architecture, settings, self.weights_sha256])[:16]

    def _probe(self) -> None:
        """Find out widths and numbers of tokens on blank pictures."""
        wide, tall = (self.pixels(Image.new("RGB", size)) for size in ((64, 48), (48, 64)))
        if wide.shape != tall.shape and not self._keeps_shape:
            raise EncoderError(
                f"{_WHAT}: the image processor gives pictures of {tuple(wide.shape)} and {tuple(tall.shape)}; "
                "set do_resize or do_center_crop and their sizes in its preprocessor_config.json"
            )
        output = self.encode([wide])
        self.hidden_size, self.pooled_size = output.hidden_states.shape[-1], output.pooled.shape[-1]
        count = output.hidden_states.shape[1]
        if self._keeps_shape:
            # One patch a side at least: a row of patches shrinks less than a square of them.
            count = -(-int(self.processor.max_num_patches) // self.downsample)
        self.tokens = TokenRate(count, "picture", at_most=self._keeps_shape)

    def preprocess(self, data: bytes) -> Tensor:
        """The decoded picture, turned upright, in RGB, as the processor wants it.

        Returns:
            float32 [3, height, width]; for NaFlex [rows of patches, patches in a row, values of a patch].

        Raises:
            MediaError: the bytes cannot be decoded.
        """
        return self.pixels(decode_picture(data))

    def preparation(self) -> Preparation:
        """The image processor, which needs no weights."""
        return Preparation(decode_picture, self.pixels)

    @torch.no_grad()
    def encode(self, batch: Sequence[Tensor]) -> EncoderOutput:
        """States [b, patches, d] and the normalised vector of the picture."""
        maps, pooled = self._naflex(batch) if self._keeps_shape else self._fixed(batch)
        if pooled is None:
            raise EncoderError(f"{_WHAT}: this model has no pooled vector; take one whose config has vision_use_head")
        tokens = [avg_pool2d(each, self.downsample, ceil_mode=True).flatten(1).T for each in maps]
        lengths = torch.tensor([len(row) for row in tokens])
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        states = pad_sequence(tokens, batch_first=True)
        return EncoderOutput(states.float().cpu(), mask, normalize(pooled.float(), dim=-1).cpu())

    def _fixed(self, batch: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor | None]:
        """Maps [d, rows, columns] of pictures of one size, and pooled vectors."""
        pixels = torch.stack(list(batch)).to(self.device)
        output = self.model(pixel_values=pixels)
        patches = output.last_hidden_state[:, self._prefix :].transpose(1, 2)
        rows, columns = (side // self._stride for side in pixels.shape[-2:])
        return patches.unflatten(2, (rows, columns)).unbind(0), output.pooler_output

    def _naflex(self, batch: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor | None]:
        """Maps [d, rows, columns] of pictures of any shape, and pooled vectors."""
        shapes = [(row.shape[0], row.shape[1]) for row in batch]
        patches = pad_sequence([row.flatten(0, 1) for row in batch], batch_first=True).to(self.device)
        counts = torch.tensor([rows * columns for rows, columns in shapes])
        mask = (torch.arange(patches.shape[1])[None] < counts[:, None]).to(self.device)
        output = self.model(pixel_values=patches, pixel_attention_mask=mask.long(), spatial_shapes=torch.tensor(shapes))
        pairs = zip(output.last_hidden_state, shapes, strict=True)
        maps = [states[: rows * columns].T.unflatten(1, (rows, columns)) for states, (rows, columns) in pairs]
        return maps, output.pooler_output

    def save(self, folder: Path) -> None:
        """Write config, image processor and weights as transformers does."""
        with new_folder(folder) as new, no_progress_bars():
            self.model.save_pretrained(new)
            self.processor.save_pretrained(new)


def build_vision_encoder(options: EncoderOptions) -> VisionEncoder:
    """The image tower of transformers that the options name: `weights` is a folder or a hub id.

    Raises:
        EncoderError: it is absent, damaged, of an unknown type, pickled where this is not allowed, or the hub cannot
            be reached (found out in 2 s).
    """
    import transformers

    folder = local_copy(str(options.weights), shipped_instead("data/encoders/image"), options.allow_pickle)
    require_weights(folder, options.allow_pickle, _WHAT)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        processor = transformers.AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise EncoderError(f"{_WHAT}: {folder} does not load: {str(error)[:300]}") from error
    family = FAMILIES.get(config.model_type)
    if family is None:
        known = ", ".join(sorted(FAMILIES))
        raise EncoderError(
            f"{_WHAT}: '{options.weights}' is a {config.model_type} model; kind transformers knows {known}"
        )
    with no_progress_bars():
        model_class = getattr(transformers, family.model_class) if family.model_class else transformers.AutoModel
        model = load_transformers(model_class, folder, options.allow_pickle, _WHAT)
    return VisionEncoder(model, processor, options.downsample, pick_device(options.device))
