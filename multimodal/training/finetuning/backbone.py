"""A pretrained masked language model as the decoder's blocks: to fill in masked tokens is what both are trained for.

    ModernBERT                                   decoder
    layers.*.attn.Wqkv, .Wo                      blocks.*.self_attention
    layers.*.mlp.Wi, .Wo                         blocks.*.feed_forward
    layers.*.attn_norm, .mlp_norm                blocks.*.self_norm, .feed_forward_norm
    embeddings.norm, final_norm                  embedding_norm, norm
    embeddings.tok_embeddings                    embedding, by what each token spells

What only the decoder has starts silent, so that at first it computes just what the pretrained model does: the outputs
of cross-attention and the learned positions are zero. Not taken over: the head before the vocabulary, and the window
of the local layers, which reaches over canvases of up to 65 tokens anyway.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.encoders.masked_lm import MaskedLanguageModel
from multimodal.tokenizer import TextTokenizer

END, MASK = "[SEP]", "[MASK]"
"""Tokens of ModernBERT that stand for our padding, which ends a text, and our mask."""


def backbone_config(config: DecoderConfig, model: MaskedLanguageModel) -> DecoderConfig:
    """A decoder's shape with that of the model's blocks."""
    theirs = model.config
    bases = tuple(float(theirs.rope_parameters[kind]["rope_theta"]) for kind in theirs.layer_types)
    return dataclasses.replace(
        config,
        hidden_size=theirs.hidden_size,
        num_layers=theirs.num_hidden_layers,
        num_heads=theirs.num_attention_heads,
        feed_forward_size=theirs.intermediate_size,
        activation=theirs.hidden_activation,
        rotary_bases=bases,
        norm="layer",
        qk_norm=False,
        embedding_norm=True,
    )


@torch.no_grad()
def load_backbone(decoder: CrossAttentionDecoder, model: MaskedLanguageModel, tokenizer: TextTokenizer) -> None:
    """Give a decoder of a `backbone_config` the model's weights."""
    weights = model.weights
    norms: Any = decoder.embedding_norm, decoder.norm
    for norm, name in zip(norms, ("embeddings.norm", "final_norm"), strict=True):
        norm.weight.copy_(weights[f"{name}.weight"])
    for number, block in enumerate(decoder.blocks):
        _load_block(block, weights, f"layers.{number}.")
    decoder.position.weight.zero_()
    if model.tokenizer is not None:
        rows = spelled_alike(tokenizer, model.tokenizer, weights["embeddings.tok_embeddings.weight"])
        decoder.embedding.weight.copy_(rows)


def _load_block(block: Any, weights: Mapping[str, Tensor], prefix: str) -> None:
    attention, feed_forward = block.self_attention, block.feed_forward
    size = attention.query.in_features
    query_key_value = weights[f"{prefix}attn.Wqkv.weight"]
    attention.query.weight.copy_(query_key_value[:size])
    attention.key_value.weight.copy_(query_key_value[size:])
    attention.output.weight.copy_(weights[f"{prefix}attn.Wo.weight"])
    feed_forward.gate_up.weight.copy_(weights[f"{prefix}mlp.Wi.weight"])
    feed_forward.down.weight.copy_(weights[f"{prefix}mlp.Wo.weight"])
    block.feed_forward_norm.weight.copy_(weights[f"{prefix}mlp_norm.weight"])
    if f"{prefix}attn_norm.weight" in weights:  # the first block reads the normalised embeddings as they are
        block.self_norm.weight.copy_(weights[f"{prefix}attn_norm.weight"])
    block.cross_attention.output.weight.zero_()


def spelled_alike(ours: TextTokenizer, theirs: Tokenizer, embeddings: Tensor) -> Tensor:
    """Embeddings of our tokens: each is the mean of those of their tokens that spell it (Gee et al. 2022).

    Args:
        ours: byte-level, as theirs must be.
        theirs: of the pretrained model.
        embeddings: [their vocabulary, hidden].

    Returns:
        [our vocabulary, hidden].
    """
    known = theirs.get_vocab()
    pieces = list(ours.vocabulary)
    for token, name in ((ours.pad_token_id, END), (ours.mask_token_id, MASK)):
        if name in known:
            pieces[token] = name
    return torch.stack([embeddings[list(_spelling(piece, known)) or slice(None)].mean(0) for piece in pieces])


def _spelling(piece: str, known: Mapping[str, int]) -> Iterator[int]:
    """The fewest tokens from the left that spell a piece; letters that none begins with are left out."""
    start = 0
    while start < len(piece):
        end = next((end for end in range(len(piece), start, -1) if piece[start:end] in known), None)
        if end is not None:
            yield known[piece[start:end]]
        start = end or start + 1
