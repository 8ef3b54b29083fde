"""The decoder: a transformer over text tokens that cross-attends to conditioning latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal.decoder.adapters import LatentAdapter
from multimodal.decoder.cache import TextCache
from multimodal.decoder.conditioning import DRAFT, HINT, Condition, ConditionEmbedder, ConditionInput
from multimodal.decoder.config import DecoderConfig
from multimodal.decoder.drafts import CopyPointer, Draft, DraftEncoder
from multimodal.decoder.layers import (
    Alignment,
    Attention,
    GatedFeedForward,
    build_norm,
    causal_bias,
    rotary_angles,
    rotate,
)
from multimodal.decoder.memory import build_memory
from multimodal.decoder.noisy import NoisyText, build_reader


class DecoderBlock(nn.Module):
    """Three residual lines: attend to the text, attend to the condition, think."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.causal = layer, config.causal
        self.rotary_base = config.rotary_bases[layer % len(config.rotary_bases)]
        self.self_attention = Attention(config)
        self.cross_attention = Attention(config)
        self.feed_forward = GatedFeedForward(config)
        self.cross_norm, self.feed_forward_norm = (build_norm(config) for _ in range(2))
        self.self_norm = nn.Identity() if config.embedding_norm and layer == 0 else build_norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        bias: Tensor,
        past: TextCache | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """States of every position, [batch, length, hidden], or [count, hidden] of some.

        Args:
            x: [batch, length, hidden].
            keys, values, bias: this layer's part of a `Condition`.
            past: all before x.
            positions: bool [batch, length], those that anything reads after this block.
        """
        x = x + self.dropout(self._attend_to_text(self.self_norm(x), past))
        queries = self.cross_attention.queries(self.cross_norm(x))
        x = x + self.dropout(self.cross_attention.attend(queries, keys, values, bias.to(queries)))
        if positions is not None:
            x = x[positions]  # what follows looks at each position by itself
        x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return x

    def _attend_to_text(self, x: Tensor, past: TextCache | None) -> Tensor:
        keys, values = self.self_attention.keys_values(x)
        queries = self.self_attention.queries(x)
        start = past.length if past else 0
        angles = rotary_angles(start + x.shape[1], queries.shape[-1], self.rotary_base)
        cos, sin = (part[start:].to(queries) for part in angles)
        queries, keys = rotate(queries, cos, sin), rotate(keys, cos, sin)
        if past:
            keys, values = past.append(self.layer, keys, values)
        bias = (
            causal_bias(queries.shape[2], keys.shape[2]).to(queries) if self.causal and queries.shape[2] > 1 else None
        )
        return self.self_attention.attend(queries, keys, values, bias)


class CrossAttentionDecoder(nn.Module):
    """Logits of every position's clean token, given a canvas of tokens and masks and a condition.

    Rotary positions alone cannot tell the positions of an all-mask canvas apart (equal values mix to equal values),
    hence the learned position embedding beside them.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_tokens, config.hidden_size)
        self.embedding_norm = build_norm(config) if config.embedding_norm else nn.Identity()
        self.condition_embedder = ConditionEmbedder(config)
        self.alignment = Alignment(config.num_heads) if config.rates or config.drafts else None
        self.blocks = nn.ModuleList(DecoderBlock(config, layer) for layer in range(config.num_layers))
        self.norm = build_norm(config)
        copies = config.drafts or "hint" in config.further
        self.draft_encoder = DraftEncoder(config) if copies else None
        self.pointer = CopyPointer(config) if copies else None
        self.memory = build_memory(config)
        self.reader = build_reader(config, config.continuous) if config.continuous else None
        self.regression = (
            nn.Linear(config.hidden_size, config.continuous.embedding_size)
            if config.continuous and config.continuous.objective == "mse"
            else None
        )
        self.apply(initialise)
        if self.pointer is not None:
            self.pointer.initialise()
        if self.reader is not None:
            self.reader.initialise()
        for adapter in self.condition_embedder.adapters.values():
            assert isinstance(adapter, LatentAdapter)
            adapter.initialise()
        for block in self.blocks:
            assert isinstance(block, DecoderBlock)
            for layer in (block.self_attention.output, block.cross_attention.output, block.feed_forward.down):
                nn.init.normal_(layer.weight, std=0.02 / (3 * config.num_layers) ** 0.5)

    def condition(self, condition: ConditionInput) -> Condition:
        """Every layer's cross-attention keys and values: needed once per sample, not once per step."""
        states = hint_states = None
        copied: list[Draft] = []
        if self.draft_encoder is not None and self.pointer is not None:
            if self.config.drafts and condition.draft is not None and condition.draft_mask is not None:
                states = self.draft_encoder(condition.draft, condition.draft_mask, self.embedding)
                copied.append(self.pointer.read(states, condition.draft, _kept(condition.draft_mask, condition, DRAFT)))
            if "hint" in self.config.further and condition.hint is not None and condition.hint_mask is not None:
                hint_states = self.draft_encoder(condition.hint, condition.hint_mask, self.embedding)
                readable = _kept(condition.hint_mask, condition, HINT)
                copied.append(self.pointer.read_hint(hint_states, condition.hint, readable))
        draft = Draft.joined(copied) if len(copied) > 1 else copied[0] if copied else None
        read = self.condition_embedder(condition, states, hint_states)
        pairs = [block.cross_attention.keys_values(read.tokens) for block in self.blocks]  # type: ignore[union-attr, operator]
        bias = torch.zeros(read.mask.shape, device=read.mask.device).masked_fill(~read.mask, -torch.inf)[:, None, None]
        keys, values = (tuple(part) for part in zip(*pairs, strict=True))
        return Condition(keys, values, bias, read.places, read.lengths, draft)

    def forward(
        self,
        tokens: Tensor | NoisyText,
        condition: Condition,
        positions: Tensor | None = None,
        past: TextCache | None = None,
    ) -> Tensor:
        """Logits of every position, or only of some: no need to compute what no loss looks at.

        Args:
            tokens: int64 [batch, length]; noisy text where the decoder is one of continuous diffusion.
            condition: of the same rows.
            positions: bool [batch, length].
            past: what a causal decoder has read before these tokens; they are added to it.

        Returns:
            [batch, length, vocab], or [count, vocab] of the chosen positions in row-major order. The clean
            embeddings in place of logits, with their size in place of vocab, where the objective is `mse`.
        """
        start = past.length if past else 0
        x = self.embedding_norm(self._embed(tokens))  # [batch, length, hidden]
        length = x.shape[1]
        x = x + self.position.weight[start : start + length]
        bias = condition.bias
        if self.alignment is not None and condition.places is not None:
            bias = bias + self.alignment(length, condition.places, start)  # [batch, heads, length, latents]
        last = len(self.blocks) - 1
        for layer, (block, keys, values) in enumerate(zip(self.blocks, condition.keys, condition.values, strict=True)):
            x = block(x, keys, values, bias, past, positions if layer == last else None)
        if past:
            past.length += length
        x = self.norm(x)  # [batch, length, hidden] or [count, hidden]
        if self.regression is not None:
            vectors: Tensor = self.regression(x)
            return vectors
        logits = functional.linear(x, self.embedding.weight)
        if self.pointer is not None and condition.draft is not None:
            logits = self.pointer.logits(x, logits, condition.draft, positions, start)
        return logits

    def compile_blocks(self, mode: str = "default") -> None:
        """Have the blocks compiled by `torch.compile` at their next call; weights and their names stay as they are.

        Block by block, for any batch size and length: in one piece a pass was still compiling after 400 s.

        Args:
            mode: of `torch.compile`; `reduce-overhead` records CUDA graphs, and so wants equal shapes.
        """
        for block in self.blocks:
            block.compile(mode=mode, dynamic=None if mode == "reduce-overhead" else True)

    def _embed(self, tokens: Tensor | NoisyText) -> Tensor:
        if isinstance(tokens, NoisyText):
            assert self.reader is not None, "only a decoder of continuous diffusion reads noisy text"
            read: Tensor = self.reader(tokens, self.embedding)
            return read
        embedded: Tensor = self.embedding(tokens)
        return embedded

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())


def _kept(mask: Tensor, condition: ConditionInput, part: int) -> Tensor:
    """Where a text may be copied from: nowhere in rows that drop it."""
    return mask if condition.dropped is None else mask & ~condition.dropped[:, part, None]


def initialise(module: nn.Module) -> None:
    """Fresh weights of one layer: embeddings of 0.02, products that keep the variance."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02 if isinstance(module, nn.Embedding) else module.weight.shape[1] ** -0.5)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
