"""Low-rank adapters beside a tower's weights, merged into them at the end, so that an ordinary tower is saved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from multimodal.encoders.pretraining.options import TowerLoraOptions
from multimodal.errors import EncoderError

if TYPE_CHECKING:
    from peft import LoraModel

_POOLS = ("AttentionPool2d", "AttentionPoolLatent")
"""Modules that read the weights of their linear maps without calling these: adapters in them would be ignored."""


def add_adapters(model: nn.Module, options: TowerLoraOptions) -> LoraModel:
    """Put adapters beside matrices of a tower, in place; at first they change nothing, and only they are trainable.

    Raises:
        EncoderError: nothing in the model is of a target's name, or what is cannot be adapted.
    """
    from peft import LoraConfig, LoraModel

    targets = list(options.targets) or list(_targets(model))
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=targets)  # type: ignore[arg-type]
    try:
        adapted = LoraModel(model, config, "default")
    except (ValueError, TypeError) as error:
        raise EncoderError(f"pretrain.lora.targets {targets[:4]} do not fit the tower: {error}") from error
    hold_statistics(model)
    return adapted


def merged(adapted: LoraModel) -> Any:
    """The tower without adapters, each one's product added to its matrix."""
    return adapted.merge_and_unload(safe_merge=True)


def hold_statistics(model: nn.Module) -> None:
    """Keep batch norms at the means that they learnt: these are weights of the tower too."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _targets(model: nn.Module) -> Iterator[str]:
    """Linear maps and attentions; the convolutions instead of a picture tower that has none of these."""
    inside: set[str] = set()
    names = dict(model.named_modules())
    convolutional = not any(_is_linear(name, names, "visual") for name in names)
    for name, module in names.items():
        if any(name.startswith(f"{outer}.") for outer in inside):
            continue
        if isinstance(module, nn.MultiheadAttention):
            inside.add(name)
            yield name
        elif type(module).__name__ in _POOLS:
            inside.add(name)
        elif isinstance(module, nn.Linear) or (
            convolutional and isinstance(module, nn.Conv2d) and name.startswith("visual.") and module.groups == 1
        ):
            yield name


def _is_linear(name: str, names: dict[str, nn.Module], prefix: str) -> bool:
    pooled = any(type(names[outer]).__name__ in _POOLS for outer in _parents(name))
    return name.startswith(f"{prefix}.") and isinstance(names[name], nn.Linear | nn.MultiheadAttention) and not pooled


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:end]) for end in range(1, len(parts)))
