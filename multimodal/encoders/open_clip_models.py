"""open_clip models by name and pretrained tag, of a folder, file or hub repository: both towers and the preprocessing.

Weights never go through open_clip's own loader, which takes pickles where it finds no safetensors.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from multimodal.encoders.hub import is_local, local_copy, require_reachable, shipped_instead
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.weights import LOAD_ERRORS, read_tensors
from multimodal.errors import EncoderError
from multimodal.fingerprint import write_file, write_json

CONFIG, WEIGHTS, PICKLED = "open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
"""open_clip's own layout of a folder."""

_SHIPPED = "data/encoders/image"


@dataclass(frozen=True, slots=True)
class OpenClipModel:
    """A model with what belongs to it.

    Args:
        model: image and text tower.
        config: `{"model_cfg": ..., "preprocess_cfg": ...}` as open_clip's folders hold it.
        preprocess: transform of a PIL picture to a float tensor [3, height, width].
        folder: where its other files are, such as those of a tokenizer; None where it is known by its name only.
    """

    model: Any
    config: dict[str, Any]
    preprocess: Any
    folder: Path | None = None


def open_clip_model(options: EncoderOptions) -> OpenClipModel:
    """The model that the options name, with fresh weights where they name none.

    Raises:
        EncoderError: architecture or weights are unknown, pickled where this is not allowed, or cannot be reached.
    """
    if options.weights is None:
        torch.manual_seed(options.pretrain.seed)
        config = _architecture(options.model)
        return OpenClipModel(*_create(config))
    if is_local(options.weights):
        return _of_path(Path(options.weights).expanduser(), options)
    if options.model is None and "/" in options.weights:
        cure = shipped_instead(_SHIPPED)
        folder = local_copy(options.weights, cure, options.allow_pickle, (WEIGHTS,), (PICKLED,))
        return _of_path(folder, options)
    return _of_tag(options.model, options.weights, options.allow_pickle)


def save_open_clip(model: Any, config: dict[str, Any], folder: Path) -> None:
    """Write the files that open_clip reads as `local-dir:`; in float16 where that loses nothing."""
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    if all(torch.equal(tensor.half().float(), tensor) for tensor in floats.values()):
        state |= {name: tensor.half() for name, tensor in floats.items()}
    write_json(folder / CONFIG, config)
    write_file(folder / WEIGHTS, save(state, metadata={"format": "pt"}))


def _of_path(path: Path, options: EncoderOptions) -> OpenClipModel:
    described = (path / CONFIG).is_file()
    candidates = [path / WEIGHTS, path / PICKLED] if described else [path]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise EncoderError(
            f"no image encoder at {path}: expected a .safetensors file, or a folder with {CONFIG}, {WEIGHTS}"
        )
    # Before the architecture is built: a pickle that is not allowed is not even opened.
    state = read_tensors(found, options.allow_pickle)
    config = _read_config(path / CONFIG) if described else _architecture(options.model)
    loaded = OpenClipModel(*_create(config), folder=found.parent)
    _fit(loaded.model, state, str(options.weights))
    return loaded


def _of_tag(name: str | None, tag: str, allow_pickle: bool) -> OpenClipModel:
    """A published model, with QuickGELU where the tag's weights were trained with it."""
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    config = _architecture(name)
    name = str(name)
    source = get_pretrained_cfg(name, tag)
    if not source:
        known = ", ".join(list_pretrained_tags_by_model(name)) or "none"
        raise EncoderError(f"'{name}' has no pretrained weights '{tag}'; it has: {known}")
    path = _published_file(name, tag, source, allow_pickle)
    state = read_tensors(path, allow_pickle)
    preprocess = merge_preprocess_dict(PreprocessCfg(), source)
    config["preprocess_cfg"] = {key: value for key, value in preprocess.items() if key not in ("size", "mode")}
    # A tag that does not say so leaves it to the architecture: roberta-ViT-B-32's does not, and means it.
    if source.get("quick_gelu"):
        config["model_cfg"]["quick_gelu"] = True
    loaded = OpenClipModel(*_create(config), folder=path.parent)
    _fit(loaded.model, state, f"{name} {tag}")
    return loaded


def _published_file(name: str, tag: str, source: dict[str, Any], allow_pickle: bool) -> Path:
    """The file of a pretrained tag, from the hub."""
    repository, _, file = str(source.get("hf_hub", "")).rpartition("/")
    if not repository:
        raise EncoderError(
            f"weights '{tag}' of '{name}' are not on the hub, but at {source.get('url')}; download them and name the "
            "file in `weights`"
        )
    file = file or PICKLED
    safe = WEIGHTS if file == PICKLED else str(Path(file).with_suffix(".safetensors"))
    folder = local_copy(repository, shipped_instead(_SHIPPED), allow_pickle, (safe,), (file,))
    return next(folder / each for each in (safe, file) if (folder / each).is_file())


def _architecture(name: str | None) -> dict[str, Any]:
    """The configuration of a JSON file or of a model that open_clip knows."""
    import open_clip

    if name is None:
        raise EncoderError("the image encoder needs `model`: an open_clip name such as ViT-B-32, or a JSON file")
    if name.endswith(".json"):
        path = Path(name)
        if not path.is_file():
            raise EncoderError(f"no image architecture at {name}; conf/models/sample-vision.json is one")
        values = _read_config(path)
        return values if "model_cfg" in values else {"model_cfg": values, "preprocess_cfg": {}}
    values = open_clip.get_model_config(name)
    if values is None:
        some = ", ".join(open_clip.list_models()[:3])
        raise EncoderError(f"open_clip knows no model '{name}'; it knows {some} ... (open_clip.list_models())")
    return {"model_cfg": values, "preprocess_cfg": {}}


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} is no JSON of an image architecture: {error}") from error
    return values


def _create(config: dict[str, Any]) -> tuple[Any, dict[str, Any], Any]:
    """Model with random weights, its configuration, and the transform of its pictures."""
    from open_clip import CLIP, CoCa, CustomTextCLIP
    from open_clip.transform import PreprocessCfg, image_transform_v2

    try:
        values = deepcopy(config["model_cfg"])
        text, vision = values["text_cfg"], values["vision_cfg"]
        custom_text = values.pop("custom_text", False) or "hf_model_name" in text
        # No base weights of either tower: they would come from the hub, and be overwritten.
        if "timm_model_name" in vision:
            vision["timm_model_pretrained"] = False
        if "hf_model_name" in text:
            text["hf_model_pretrained"] = False
            if not is_local(text["hf_model_name"]):
                require_reachable(text["hf_model_name"], shipped_instead(_SHIPPED))
        kind = (CoCa if "multimodal_cfg" in values else CustomTextCLIP) if custom_text else CLIP
        model = kind(**values)
        preprocess = {**config["preprocess_cfg"], "size": model.visual.image_size}
        return model, config, image_transform_v2(PreprocessCfg(**preprocess), is_train=False)
    except LOAD_ERRORS as error:
        raise EncoderError(f"open_clip cannot build this architecture: {type(error).__name__}: {error}") from error


def _fit(model: Any, state: dict[str, Tensor], name: str) -> None:
    """Load weights, from the layouts that open_clip itself converts when it loads a checkpoint."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed

    try:
        state = convert_state_dict(model, state)
        if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
            state = convert_to_custom_text_state_dict(state)
        for scalar in ("logit_scale", "logit_bias"):
            own = getattr(model, scalar, None)
            if scalar in state and own is not None:
                state[scalar] = state[scalar].reshape(own.shape)
        position_ids = "text.transformer.embeddings.position_ids"
        if position_ids not in model.state_dict():
            state.pop(position_ids, None)
        resize_pos_embed(state, model)
        resize_text_pos_embed(state, model)
        model.load_state_dict(state)
    except LOAD_ERRORS as error:
        raise EncoderError(f"weights of {name} do not fit the architecture: {str(error)[:300]}") from error
