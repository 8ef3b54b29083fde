"""Registered encoders that a configuration names by `models:/...`: fetched before any encoder sees the name."""

from __future__ import annotations

from pathlib import Path

from multimodal.encoders.options import EncodeOptions, EncoderOptions
from multimodal.errors import ConfigError
from multimodal.sample import Modality
from multimodal.training.finetuning.start import REGISTERED


def with_fetched(workspace: Path, options: EncodeOptions) -> EncodeOptions:
    """The encoders with folders in place of registered names, in `weights` and in `pretrain.start`; `origin` says which
    version that is now. An alias is looked up again by every run.

    Raises:
        RegistryError: a registered encoder is not there.
        CheckpointError: its files are not those that were registered.
        ConfigError: it is of another modality.
    """
    named = {str(modality): options.of(modality) for modality in Modality}
    fetched = {name: _fetched(workspace, name, encoder) for name, encoder in named.items() if encoder is not None}
    return options.model_copy(update=fetched)


def _fetched(workspace: Path, modality: str, options: EncoderOptions) -> EncoderOptions:
    if (options.weights or "").startswith(REGISTERED):
        folder, version = _folder(workspace, modality, str(options.weights))
        options = options.model_copy(update={"weights": folder, "origin": version})
    if (options.pretrain.start or "").startswith(REGISTERED):
        folder, version = _folder(workspace, modality, str(options.pretrain.start))
        pretrain = options.pretrain.model_copy(update={"start": folder})
        options = options.model_copy(update={"pretrain": pretrain, "origin": options.origin or f"from {version}"})
    return options


def _folder(workspace: Path, modality: str, uri: str) -> tuple[str, str]:
    from multimodal.registry import fetch_encoder, modality_of

    folder, info = fetch_encoder(workspace, uri)
    found = modality_of(workspace, info)
    if found != modality:
        raise ConfigError(f"encode.{modality}: {uri} is an encoder of {found}")
    return str(folder), info.uri
