"""A saved decoder to go on from: where it is, and how it grows by what the new data brings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.errors import ConfigError
from multimodal.fingerprint import file_digest, read_index
from multimodal.generation import FILES, TextGenerator
from multimodal.tokenizer import TextTokenizer
from multimodal.training.options import TrainOptions

REGISTERED = "models:/"
"""Sources that begin with this are fetched by `multimodal.registry` before a training sees them."""


def start_folder(source: str) -> Path:
    """The folder that a source means: its own, or of a training's folder the chosen checkpoint."""
    folder = Path(source)
    index = read_index(folder)
    return folder / index["result"]["checkpoint"] if index and "result" in index else folder


def initial_weights(options: TrainOptions) -> dict[str, Any]:
    """What a training depends on in place of the names that its options give to other models: the files' digests."""
    start, backbone = options.init_from, options.init_backbone
    return {
        "init_from": _digests([start_folder(start) / name for name in FILES]) or start if start else None,
        "init_backbone": _digests(sorted(Path(backbone).glob("*.safetensors"))) or backbone if backbone else None,
    }


def _digests(files: Iterable[Path]) -> dict[str, str]:
    return {path.name: file_digest(path) for path in files if path.is_file()}


def load_start(source: str) -> TextGenerator:
    """The saved decoder: of a training, a checkpoint, a package, `save_pretrained`, or the Hugging Face hub.

    Raises:
        ConfigError: it is a registered model that nothing has fetched.
        CheckpointError: it is incomplete, or cannot be had.
    """
    if source.startswith(REGISTERED):
        raise ConfigError(f"{source} must be fetched first: train by `multimodal train`, or give a folder")
    return TextGenerator.from_pretrained(start_folder(source))


def keep_tokenizer(start: TextGenerator, source: str, keep: bool, train: Callable[[], TextTokenizer]) -> TextTokenizer:
    """The tokenizer to go on with: the old one, unless it shall not be kept.

    Raises:
        ConfigError: the new data gives another one, which the old embeddings mean nothing to.
    """
    if keep:
        return start.tokenizer
    tokenizer = train()
    if tokenizer.to_json() != start.tokenizer.to_json():
        raise ConfigError(
            f"the tokenizer of the new data differs from that of {source}, whose embeddings it would scramble; "
            "leave train.keep_tokenizer at true"
        )
    return tokenizer


def grown_config(old: DecoderConfig, new: DecoderConfig, source: str) -> DecoderConfig:
    """The old shape with the new data's tasks, styles, modalities and further inputs after the old ones.

    Raises:
        ConfigError: the new data's latents have another form, or the new training writes in the other direction.
    """
    if _direction(old) != _direction(new):
        raise ConfigError(f"{source} writes {_direction(old)}; set train.process accordingly")
    for name, what in (("latent_sizes", "latents of width"), ("grid_positions", "a grid of")):
        before, after = getattr(old, name), getattr(new, name)
        for modality in sorted(old.latent_sizes.keys() & new.latent_sizes.keys()):
            if before.get(modality) != after.get(modality):
                raise ConfigError(
                    f"{source} reads {modality} as {what} {before.get(modality, 'none')}, the new data has "
                    f"{after.get(modality, 'none')}; encode with the encoder that it was trained with"
                )
    return dataclasses.replace(
        old,
        max_tokens=max(old.max_tokens, new.max_tokens),
        latent_sizes={**new.latent_sizes, **old.latent_sizes},
        grid_positions={**_fresh(new.grid_positions, old), **old.grid_positions},
        resample={**_fresh(new.resample, old), **old.resample},
        downsample={**_fresh(new.downsample, old), **old.downsample},
        tasks=(*old.tasks, *(task for task in new.tasks if task not in old.tasks)),
        styles=(*old.styles, *(style for style in new.styles if style not in old.styles)),
        task_styles={
            task: tuple(dict.fromkeys((*old.styles_of(task), *new.styles_of(task))))
            for task in (*old.tasks, *new.tasks)
            if old.styles_of(task) or new.styles_of(task)
        },
        further=(*old.further, *(name for name in new.further if name not in old.further)),
        dropout=new.dropout,
    )


def _direction(config: DecoderConfig) -> str:
    if config.causal:
        return "autoregressive"
    return "speculatively" if config.process == "speculative" else "by diffusion"


def _fresh(new: Mapping[str, int], old: DecoderConfig) -> dict[str, int]:
    """What is said of modalities that the old decoder did not read."""
    return {modality: value for modality, value in new.items() if modality not in old.latent_sizes}


@torch.no_grad()
def grow(decoder: CrossAttentionDecoder, old: CrossAttentionDecoder) -> None:
    """Give a decoder of a `grown_config` the old one's weights; what the old one lacks stays as initialised.

    Tables keep their old rows in place; of the styles' the last row, "no style", goes to the end.
    """
    state: dict[str, Any] = decoder.state_dict()
    for name, before in old.state_dict().items():
        now: Tensor = state[name]
        if now.shape == before.shape:
            now.copy_(before)
        elif name == "condition_embedder.style.weight":
            now[: len(before) - 1] = before[:-1]
            now[-1] = before[-1]
        else:
            now[: len(before)] = before


def grown_decoder(config: DecoderConfig, start: TextGenerator, options: TrainOptions) -> CrossAttentionDecoder:
    """A starting model's decoder with room for what the new data brings.

    Args:
        config: of a fresh decoder for the new data.
        start: the starting model.
        options: of the training.

    Raises:
        ConfigError: see `grown_config`; or new parts are to be frozen, which would leave them random.
    """
    old, source = start.decoder.config, str(options.init_from)
    grown = grown_config(old, config, source)
    for part, names in (("condition", ("tasks", "styles")), ("adapters", ("latent_sizes",))):
        new = [str(key) for name in names for key in getattr(grown, name) if key not in getattr(old, name)]
        if new and part in options.freeze:
            raise ConfigError(
                f"{', '.join(new)} are new to {source} and to be learnt: take '{part}' out of train.freeze"
            )
    decoder = CrossAttentionDecoder(grown)
    grow(decoder, start.decoder)
    return decoder
