"""The autoregressive twin as transformers builds it: GPT-2 with cross-attention, written with `generate`.

It is what one would take instead of this project's decoder. It reads the same condition tokens (latents through the
same small adapters, task, style), and the tokens of a draft through a BERT encoder of as many layers as the native
decoder spends on drafts; it has no pointer to copy with. Sequences, tokenizer and batches are those of the native twin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel, GenerationConfig, GPT2Config, GPT2LMHeadModel, GPT2Model

from multimodal.decoder import (
    Condition,
    ConditionInput,
    CrossAttentionDecoder,
    DecoderConfig,
    NoisyText,
    TextCache,
    TextLayout,
)
from multimodal.decoder.conditioning import ConditionEmbedder
from multimodal.decoder.memory import build_memory
from multimodal.decoder.model import initialise
from multimodal.diffusion.samplers import SamplerOutput
from multimodal.errors import RequestError
from multimodal.generation import TextGenerator
from multimodal.generation.autoregressive import Written
from multimodal.generation.calibration import Calibration
from multimodal.generation.guidance import GuidedCondition
from multimodal.generation.writers import AutoregressiveWriter
from multimodal.tasks import Canvas
from multimodal.tokenizer import TextTokenizer
from multimodal.training.options import SamplerOptions


class GPT2Decoder(CrossAttentionDecoder):
    """GPT-2 behind the calls of the native decoder, so that one trainer trains both; none of its layers is ours but
    the adapters that turn latents, task and style into condition tokens.

    A block holds as many weights as a native one: 8 hidden^2 for the two attentions, 8 hidden^2 for the rest.

    Args:
        config: of the native causal decoder.
    """

    def __init__(self, config: DecoderConfig) -> None:
        nn.Module.__init__(self)  # the interface is inherited, the layers are not
        self.config = config
        self.condition_embedder = ConditionEmbedder(config)
        self.condition_embedder.apply(initialise)
        self.transformer = GPT2Model(gpt2_config(config))
        self.memory = build_memory(config)
        self.draft_reader = BertModel(bert_config(config), add_pooling_layer=False) if config.drafts else None

    @property
    def embedding(self) -> nn.Embedding:  # type: ignore[override]
        """Of tokens; tied to the output."""
        return cast(nn.Embedding, self.transformer.wte)

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The layers whose matrices Muon trains."""
        return cast(nn.ModuleList, self.transformer.h)

    def condition(self, condition: ConditionInput) -> Condition:
        """The condition tokens as the one layer of keys: GPT-2 makes each layer's own keys and values from them."""
        states = None
        if self.draft_reader is not None and condition.draft is not None:
            states = self.draft_reader(condition.draft, attention_mask=condition.draft_mask).last_hidden_state
        read = self.condition_embedder(condition, states)
        bias = torch.zeros(read.mask.shape, device=read.mask.device).masked_fill(~read.mask, -torch.inf)[:, None, None]
        return Condition((read.tokens,), (read.tokens,), bias)

    def forward(
        self,
        tokens: Tensor | NoisyText,
        condition: Condition,
        positions: Tensor | None = None,
        past: TextCache | None = None,
        layout: TextLayout | None = None,
    ) -> Tensor:
        """Logits as of the native decoder; there is no `past`, since `generate` keeps a cache of its own, and no
        `layout`, since it reads left to right alone."""
        assert past is None and layout is None and isinstance(tokens, Tensor)
        x = self.transformer(tokens, **encoder_inputs(condition), use_cache=False).last_hidden_state
        return functional.linear(x if positions is None else x[positions], self.embedding.weight)


def gpt2_config(config: DecoderConfig) -> GPT2Config:
    """GPT-2 of the native decoder's width, depth, heads and dropout."""
    return GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.max_tokens,
        n_embd=config.hidden_size,
        n_layer=config.num_layers,
        n_head=config.num_heads,
        add_cross_attention=True,
        bos_token_id=None,
        eos_token_id=None,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
    )


def bert_config(config: DecoderConfig) -> BertConfig:
    """The reader of drafts."""
    return BertConfig(
        vocab_size=config.vocab_size,
        max_position_embeddings=config.max_draft,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.draft_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=4 * config.hidden_size,
        type_vocab_size=1,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
    )


def encoder_inputs(condition: Condition) -> dict[str, Tensor]:
    """What GPT-2's cross-attention takes."""
    return {"encoder_hidden_states": condition.keys[0], "encoder_attention_mask": condition.bias[:, 0, 0] == 0}


@lru_cache(maxsize=64)
def generation_config(most: int, beams: int, end: int, never: int) -> GenerationConfig:
    """How `generate` writes: checked once, not once per batch.

    Args:
        most: tokens of an answer.
        beams: 1 is greedy, and then `AllEnds` stops it.
        end: token that ends beams and pads rows.
        never: token that is not written.
    """
    return GenerationConfig(
        max_new_tokens=most,
        do_sample=False,
        num_beams=beams,
        pad_token_id=end,
        eos_token_id=end if beams > 1 else None,
        suppress_tokens=[never],
    )


class AllEnds:
    """Stops a row when it has written all its ends: a text has one, a text with gaps one per gap.

    Args:
        start: length of the prompts.
        ends: of each row.
        end_token_id: also tells `generate` to pad rows that stopped earlier than others.
    """

    def __init__(self, start: int, ends: Tensor, end_token_id: int) -> None:
        self.start, self.ends, self.eos_token_id = start, ends, end_token_id

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """bool [rows]."""
        return (input_ids[:, self.start :] == self.eos_token_id).sum(-1) >= self.ends


class GenerateWriter(AutoregressiveWriter):
    """Fills canvases by `generate` with its key-value cache, greedily or by beam search.

    Confidences are not asked of `generate` and stay unknown (NaN).
    """

    def __init__(self, decoder: CrossAttentionDecoder, tokenizer: TextTokenizer) -> None:
        super().__init__(decoder, tokenizer)
        transformer: Any = decoder.transformer
        self.model = GPT2LMHeadModel(transformer.config)
        self.model.transformer = transformer
        self.model.lm_head.weight = transformer.wte.weight

    def write(
        self,
        canvases: Sequence[Canvas],
        guided: GuidedCondition,
        options: SamplerOptions,
        generators: Sequence[torch.Generator] | None,
        trajectory: bool,
        banned: Tensor | None = None,
    ) -> SamplerOutput:
        """As in `Writer.write`.

        Raises:
            RequestError: guidance or a temperature is asked for, or beams for a text with several gaps.
        """
        ends = [max(1, len(canvas.gaps)) for canvas in canvases]
        if len(guided.weights) > 1 or options.temperature > 0:
            raise RequestError("the GPT-2 of the comparison takes no guidance and no temperature; leave both out")
        if options.beams > 1 and max(ends) > 1:
            raise RequestError(f"`generate` ends beams at their first end, this text has {max(ends)} gaps; use 1 beam")
        condition = guided.condition
        device, pad = condition.bias.device, self.tokenizer.pad_token_id
        prompts = torch.tensor([self._prompt(canvas) for canvas in canvases], device=device)
        start = prompts.shape[1]
        written = self.model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            generation_config=generation_config(
                self._most(canvases, start), options.beams, pad, self.tokenizer.mask_token_id
            ),
            stopping_criteria=[] if options.beams > 1 else [AllEnds(start, torch.tensor(ends, device=device), pad)],
            **encoder_inputs(condition),
        )[:, start:]
        return self._output(canvases, [_row(*row, pad, options.beams) for row in zip(written, ends, strict=True)])


def _row(tokens: Tensor, ends: int, pad: int, beams: int) -> Written:
    """One row without the padding after its last end."""
    places = (tokens == pad).nonzero().flatten().tolist()
    kept = tokens[: places[ends - 1] + 1 if len(places) >= ends else len(tokens)].tolist()
    return Written(kept, [float("nan")] * len(kept), len(kept) * beams)


class GPT2Generator(TextGenerator):
    """Writes texts with a trained `GPT2Decoder`."""

    decoder_class = GPT2Decoder

    def __init__(
        self,
        decoder: CrossAttentionDecoder,
        tokenizer: TextTokenizer,
        canvas: dict[str, int],
        calibrations: Mapping[str, Calibration] | None = None,
    ) -> None:
        super().__init__(decoder, tokenizer, canvas, calibrations)
        self.writer = GenerateWriter(decoder, tokenizer)
