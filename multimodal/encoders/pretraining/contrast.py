"""What draws pictures and their captions together: open_clip's losses over a batch of pairs, and the texts' vectors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from multimodal.encoders.image import ImageEncoder

SIGLIP_SCALE, SIGLIP_BIAS = 10.0, -10.0
"""What scale and bias start from (Zhai et al., 2023, https://arxiv.org/abs/2303.15343, section 3.2)."""
_MOST_SCALE = math.log(100)


def prepare_loss(encoder: ImageEncoder, loss: str) -> None:
    """Give a model the learned bias that the SigLIP loss needs; its configuration then says so too."""
    model = encoder.model
    if loss == "siglip" and model.logit_bias is None:
        start = {"init_logit_scale": math.log(SIGLIP_SCALE), "init_logit_bias": SIGLIP_BIAS}
        encoder.config = {**encoder.config, "model_cfg": {**encoder.config["model_cfg"], **start}}
        model.logit_scale.data.fill_(math.log(SIGLIP_SCALE))
        model.logit_bias = nn.Parameter(torch.full_like(model.logit_scale.data, SIGLIP_BIAS))


def contrastive_loss(model: Any, pictures: Tensor, texts: Tensor, loss: str) -> Tensor:
    """open_clip's loss of a batch of pairs, by the model's learned scale and bias.

    Args:
        pictures, texts: float32 [batch, embed], normalised; row i of one belongs to row i of the other.
        loss: `clip` or `siglip`.
    """
    from open_clip.loss import ClipLoss, SigLipLoss

    of_pairs = SigLipLoss() if loss == "siglip" else ClipLoss()
    value: Tensor = of_pairs(pictures, texts, model.logit_scale.exp(), logit_bias=model.logit_bias)
    return value


@torch.no_grad()
def clamp_scale(model: Any) -> None:
    """Keep the scale between 1 and 100, as CLIP does."""
    model.logit_scale.clamp_(0, _MOST_SCALE)


def encode_texts(model: Any, ids: Tensor) -> Tensor:
    """`encode_text` of ids [texts, context], at the length of the longest text where the tower allows it.

    Padding behind the end changes nothing in a CLIP tower: it is causal and reads its text at the end token.
    """
    if getattr(model, "attn_mask", None) is None or getattr(model, "text_pool_type", "") != "argmax":
        plain: Tensor = model.encode_text(ids)
        return plain
    ids = ids[:, : int((ids != 0).sum(1).max())]
    length = ids.shape[1]
    x = model.token_embedding(ids) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    ends: Tensor = x[torch.arange(len(ids)), ids.argmax(-1)] @ model.text_projection
    return ends
