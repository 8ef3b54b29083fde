"""Which weights a training changes: frozen parts, and low-rank adapters where the blocks' own are frozen.

backbone      blocks and last norm
embeddings    of tokens and positions; what reads or writes vectors in their place
adapters      from latents to condition tokens
condition     embeddings of tasks, styles and null conditions; the draft's encoder and its pointer; the slopes
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from multimodal.decoder import CrossAttentionDecoder
from multimodal.errors import ConfigError
from multimodal.training.finetuning.options import LoraOptions

PARTS: dict[str, tuple[str, ...]] = {
    "backbone": ("blocks.", "norm.", "embedding_norm."),
    "embeddings": ("embedding.", "position.", "reader.", "regression."),
    "adapters": ("condition_embedder.adapters.",),
    "condition": (
        "condition_embedder.task.", "condition_embedder.style.", "condition_embedder.null.",
        "condition_embedder.norm.", "draft_encoder.", "pointer.", "alignment.",
    ),
}  # fmt: skip
"""Part -> how the names of its weights begin; every weight belongs to one."""


def prepare(decoder: CrossAttentionDecoder, freeze: Iterable[str], lora: LoraOptions | None) -> None:
    """Freeze parts of a decoder, and give its blocks adapters.

    Raises:
        ConfigError: nothing would be trained.
    """
    frozen = tuple(start for part in {*freeze, *(["backbone"] if lora else [])} for start in PARTS[part])
    if lora:
        add_lora(decoder, lora)
    for name, parameter in decoder.named_parameters():
        parameter.requires_grad_(_is_lora(name) or not name.startswith(frozen))
    if not any(parameter.requires_grad for parameter in decoder.parameters()):
        raise ConfigError("train.freeze holds all parts of the decoder: nothing is left to be trained")


def add_lora(decoder: CrossAttentionDecoder, options: LoraOptions) -> None:
    """Put low-rank adapters beside matrices of the blocks; at first they change nothing."""
    from peft import LoraConfig, inject_adapter_in_model

    targets = rf"blocks\.\d+\.\w+\.({'|'.join(options.targets)})"
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=targets)
    inject_adapter_in_model(config, decoder)


@torch.no_grad()
def merged(decoder: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a decoder with adapters as those of one without: each adapter's product is added to its matrix.

    Args:
        decoder: with or without adapters.
        state: of that decoder; its own or an average.
    """
    scaling = {name: module.scaling for name, module in decoder.named_modules() if hasattr(module, "lora_A")}
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if _is_lora(name):
            continue
        module, base, rest = name.partition(".base_layer.")
        if base:
            ((adapter, scale),) = scaling[module].items()
            down, up = (state[f"{module}.lora_{side}.{adapter}.weight"] for side in "AB")
            tensor = tensor + scale * (up @ down)
        plain[f"{module}.{rest}" if base else name] = tensor
    return plain


def _is_lora(name: str) -> bool:
    return ".lora_" in name
