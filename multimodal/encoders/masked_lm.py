"""Pretrained masked language models, read as plain tensors for whoever starts from them.

ModernBERT (Warner et al. 2024) is what can be read: pre-norm blocks with rotary positions, gated feed-forward layers
and no biases. BERT and RoBERTa normalise after each residual, add biases and know positions by a table alone; their
weights would mean something else in such blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor

from multimodal.encoders.hub import local_copy, no_progress_bars
from multimodal.encoders.weights import LOAD_ERRORS, load_transformers
from multimodal.errors import EncoderError

MODEL_TYPE = "modernbert"


@dataclass(frozen=True, slots=True)
class MaskedLanguageModel:
    """A pretrained model without its head.

    Args:
        config: of transformers.
        weights: by transformers' names, without the prefix `model.`.
        tokenizer: None where the folder holds no tokenizer.json.
    """

    config: Any
    weights: Mapping[str, Tensor]
    tokenizer: Tokenizer | None


def load_masked_language_model(name: str) -> MaskedLanguageModel:
    """Read a ModernBERT from a folder or from the Hugging Face hub.

    Args:
        name: folder with config.json and safetensors, or hub id.

    Raises:
        EncoderError: it is absent, of another architecture, or the hub cannot be reached (found out in 2 s).
    """
    folder = local_copy(name, "set train.init_backbone to a local folder")
    from transformers import AutoConfig, ModernBertModel

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise EncoderError(
            f"train.init_backbone: '{name}' cannot be read as a masked language model: {error}"
        ) from error
    _require_modernbert(name, config)
    with no_progress_bars():
        model = load_transformers(ModernBertModel, folder, False, "train.init_backbone", config=config)
    return MaskedLanguageModel(config, model.state_dict(), _tokenizer(folder))


def _require_modernbert(name: str, config: Any) -> None:
    if config.model_type != MODEL_TYPE:
        raise EncoderError(
            f"train.init_backbone: '{name}' is a {config.model_type}, whose blocks are not built as the decoder's; "
            f"those of a {MODEL_TYPE} are (answerdotai/ModernBERT-base on the Hugging Face hub)"
        )
    biased = [key for key in ("attention_bias", "mlp_bias", "norm_bias") if getattr(config, key)]
    if biased:
        raise EncoderError(
            f"train.init_backbone: '{name}' has {', '.join(biased)}; the decoder's blocks have no biases"
        )
    if config.hidden_activation not in ("gelu", "silu"):
        raise EncoderError(f"train.init_backbone: '{name}' has activation {config.hidden_activation}; gelu or silu fit")


def _tokenizer(folder: Path) -> Tokenizer | None:
    path = folder / "tokenizer.json"
    return Tokenizer.from_file(str(path)) if path.is_file() else None
