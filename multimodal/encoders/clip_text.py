"""The text tower of an image encoder: texts as vectors of the space that its pictures' pooled vectors lie in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from multimodal.encoders.base import Encoder
from multimodal.encoders.image import ImageEncoder
from multimodal.errors import EncoderError


@torch.no_grad()
def embed_texts(encoder: Encoder, texts: Sequence[str]) -> Tensor:
    """CLIP embeddings of texts, normalised, float32 [texts, pooled_size] on the CPU.

    Args:
        encoder: of pictures, an open_clip model with both towers and open_clip's own byte-pair vocabulary.
        texts: at least one; what does not fit into the tower's context is cut off.

    Raises:
        EncoderError: the encoder has no text tower that these texts can be given to.
    """
    ids, encoder = text_ids(encoder, texts)
    embeddings: Tensor = encoder.model.encode_text(ids.to(encoder.device), normalize=True)
    return embeddings.float().cpu()


def text_ids(encoder: Encoder, texts: Sequence[str]) -> tuple[Tensor, ImageEncoder]:
    """Ids of texts for an encoder's text tower, int64 [texts, context], and that encoder.

    Raises:
        EncoderError: as of `embed_texts`.
    """
    if not isinstance(encoder, ImageEncoder):
        raise EncoderError(f"an encoder of {encoder.modality} has no text tower; CLIP models of pictures have one")
    tokenizer, model = _tokenizer(), encoder.model
    if not has_text_tower(encoder):
        raise EncoderError(
            f"the image encoder has no text tower of open_clip's own vocabulary of {tokenizer.vocab_size} tokens; "
            "use a CLIP model that has one"
        )
    return tokenizer(list(texts), context_length=model.context_length), encoder


def has_text_tower(encoder: Encoder) -> bool:
    """Whether the encoder is of pictures and has a text tower of open_clip's own byte-pair vocabulary."""
    if not isinstance(encoder, ImageEncoder):
        return False
    text_config = encoder.config["model_cfg"].get("text_cfg") or {}
    size = text_config.get("vocab_size", _tokenizer().vocab_size)
    return (
        hasattr(encoder.model, "encode_text")
        and "hf_tokenizer_name" not in text_config
        and size >= (_tokenizer().vocab_size)
    )


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
