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
    if not isinstance(encoder, ImageEncoder):
        raise EncoderError(f"an encoder of {encoder.modality} has no text tower; CLIP models of pictures have one")
    tokenizer, model = _tokenizer(), encoder.model
    text_config = encoder.config["model_cfg"].get("text_cfg") or {}
    size = text_config.get("vocab_size", tokenizer.vocab_size)
    if not hasattr(model, "encode_text") or "hf_tokenizer_name" in text_config or size < tokenizer.vocab_size:
        raise EncoderError(
            f"the image encoder has no text tower of open_clip's own vocabulary of {tokenizer.vocab_size} tokens; "
            "use a CLIP model that has one"
        )
    ids = tokenizer(list(texts), context_length=model.context_length).to(encoder.device)
    embeddings: Tensor = model.encode_text(ids, normalize=True)
    return embeddings.float().cpu()


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
