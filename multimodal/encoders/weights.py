"""Weights: read from safetensors, refused as pickles unless allowed, and hashed.

A pickle can run code when it is loaded. One that is allowed is read by torch's restricted unpickler (`weights_only`),
which knows tensors and plain containers and refuses everything else.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from multimodal.errors import EncoderError

LOAD_ERRORS = (
    OSError, ValueError, RuntimeError, TypeError, AttributeError, LookupError, ImportError, EOFError,
    pickle.UnpicklingError, SafetensorError, StrictDataclassError,
)  # fmt: skip
"""What libraries raise over folders and files that hold something else than was asked for."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")

_UNTRAINED = ("masked_spec_embed", "mask_token", "position_ids")
"""Ends of names that published checkpoints may lack, since nothing but pretraining reads them."""


def require_weights(folder: Path, allow_pickle: bool, what: str) -> None:
    """Check that a folder in the layout of transformers holds a config and weights that may be loaded.

    Args:
        what: kind of encoder, for the message.

    Raises:
        EncoderError: there is no config, there are no weights, or pickled ones only and these are not allowed.
    """
    pickled = sorted(path.name for path in folder.glob("*") if path.suffix in PICKLES)
    has_safetensors = any(folder.glob("model*.safetensors"))
    if pickled and not has_safetensors and not allow_pickle:
        raise EncoderError(f"{what}: {refusal(folder / pickled[0])}")
    if not (folder / "config.json").is_file() or not (has_safetensors or pickled):
        raise EncoderError(
            f"{what}: {folder} has no config.json with model.safetensors; it must be a folder written by "
            "`multimodal pretrain` or by save_pretrained"
        )


def refusal(path: Path) -> str:
    """Why a pickle is not loaded, and what to do."""
    return (
        f"{path} is not safetensors but a pickle, which can run code when it is loaded; convert it "
        "(safetensors.torch.save_file), or set `allow_pickle: true`, with which only tensors are read from it"
    )


def load_transformers(model_class: Any, folder: Path, allow_pickle: bool, what: str, **settings: Any) -> Any:
    """A model of transformers in float32, all of its weights from the folder.

    Args:
        model_class: class with `from_pretrained`.
        settings: passed on to `from_pretrained`.

    Raises:
        EncoderError: the weights may not be loaded, are damaged, or are not those of this model.
    """
    require_weights(folder, allow_pickle, what)
    use_safetensors = None if allow_pickle else True
    try:
        model, report = model_class.from_pretrained(
            folder, local_files_only=True, use_safetensors=use_safetensors, weights_only=True, dtype=torch.float32,
            output_loading_info=True, trust_remote_code=False, **settings,
        )  # fmt: skip
    except LOAD_ERRORS as error:
        raise EncoderError(
            f"{what}: {folder} does not load as {model_class.__name__}: {without_advice(error)}"
        ) from error
    missing = sorted(name for name in report["missing_keys"] if not name.endswith(_UNTRAINED))
    if missing:
        raise EncoderError(
            f"{what}: {folder} lacks {len(missing)} weights of {type(model).__name__}, such as {missing[0]}; "
            "they would stay random"
        )
    return model


def read_tensors(path: Path, allow_pickle: bool) -> dict[str, Tensor]:
    """Tensors of a .safetensors file; with `allow_pickle` also of a checkpoint of torch, alone or as `state_dict`.

    Raises:
        EncoderError: it is a pickle and these are not allowed, holds something else than tensors, or is damaged.
    """
    if path.suffix != ".safetensors" and not allow_pickle:
        raise EncoderError(refusal(path))
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except LOAD_ERRORS as error:
        raise EncoderError(f"{path} does not load: {without_advice(error)}") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {}
    tensors = {str(name).removeprefix("module."): tensor for name, tensor in state.items() if torch.is_tensor(tensor)}
    if not tensors or len(tensors) != len(state):
        raise EncoderError(f"{path} holds no table of tensors by name, alone or as `state_dict`")
    return tensors


def without_advice(error: BaseException) -> str:
    """The first words of a library's message; torch goes on to explain how to load untrusted pickles."""
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
        return "it holds more than tensors, or is damaged; nothing in it was run"
    return str(error)[:300]


def state_digest(state: Mapping[str, Tensor], as_float: bool = True) -> str:
    """SHA-256 over names and values of tensors in the order of their names, 64 hex digits.

    Args:
        as_float: hash values as float32, so that float16 copies without loss have the same digest.
    """
    sha = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        sha.update(name.encode())
        sha.update((tensor.float() if as_float else tensor).cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
