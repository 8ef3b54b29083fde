"""The two ways in which a decoder writes texts of one task: by diffusion, and left to right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from multimodal.decoder import CrossAttentionDecoder, TextCache
from multimodal.diffusion.samplers import SAMPLERS, SamplerOutput
from multimodal.errors import RequestError
from multimodal.generation import autoregressive
from multimodal.generation.autoregressive import AutoregressiveSampler, Written
from multimodal.generation.guidance import GuidedCondition
from multimodal.tasks import Canvas
from multimodal.tokenizer import TextTokenizer
from multimodal.training.options import SamplerOptions


class Writer(ABC):
    """Fills canvases.

    Args:
        decoder, tokenizer: trained together.
    """

    def __init__(self, decoder: CrossAttentionDecoder, tokenizer: TextTokenizer) -> None:
        self.decoder, self.tokenizer = decoder, tokenizer

    @abstractmethod
    def draws(self, options: SamplerOptions) -> bool:
        """Whether texts depend on chance."""

    @abstractmethod
    def length(self, canvas: Canvas) -> int:
        """What canvases must have in common to be written in one batch."""

    @abstractmethod
    def write(
        self,
        canvases: Sequence[Canvas],
        guided: GuidedCondition,
        options: SamplerOptions,
        generators: Sequence[torch.Generator] | None,
        trajectory: bool,
    ) -> SamplerOutput:
        """Fill canvases of one length.

        Args:
            canvases: what to start from.
            guided: condition of the same rows, with the passes that guidance needs.
            options: of the sampler.
            generators: one per row, where chance is needed.
            trajectory: record the canvas after each step.
        """


class DiffusionWriter(Writer):
    """Fills canvases by a sampler of masked diffusion."""

    def draws(self, options: SamplerOptions) -> bool:
        """By temperature, or by samplers that draw positions."""
        return options.temperature > 0 or SAMPLERS[options.kind].draws

    def length(self, canvas: Canvas) -> int:
        """All of the canvas: padding would be seen."""
        return len(canvas.tokens)

    def write(
        self,
        canvases: Sequence[Canvas],
        guided: GuidedCondition,
        options: SamplerOptions,
        generators: Sequence[torch.Generator] | None,
        trajectory: bool,
    ) -> SamplerOutput:
        """As in `Writer.write`."""

        def denoise(tokens: Tensor, rows: Tensor) -> Tensor:
            return guided.logits(self.decoder, tokens, rows)

        device = self.decoder.embedding.weight.device
        repeatable = torch.zeros(self.tokenizer.vocab_size, dtype=torch.bool, device=device)
        repeatable[self.tokenizer.pad_token_id] = True
        kind = SAMPLERS[options.kind]
        chosen = {field.name: getattr(options, field.name) for field in fields(kind) if hasattr(options, field.name)}
        sampler = kind(self.tokenizer.mask_token_id, repeatable=repeatable, **chosen)
        start = torch.tensor([canvas.tokens for canvas in canvases], device=device)
        return sampler.sample(denoise, start, generators, trajectory)


class AutoregressiveWriter(Writer):
    """Fills canvases left to right, with a cache of what was read."""

    def draws(self, options: SamplerOptions) -> bool:
        """By temperature."""
        return options.temperature > 0

    def length(self, canvas: Canvas) -> int:
        """Of the prompt."""
        return len(self._prompt(canvas))

    def write(
        self,
        canvases: Sequence[Canvas],
        guided: GuidedCondition,
        options: SamplerOptions,
        generators: Sequence[torch.Generator] | None,
        trajectory: bool,
    ) -> SamplerOutput:
        """As in `Writer.write`; there is no trajectory.

        Raises:
            RequestError: guidance is asked for, which is not built for left-to-right decoding.
        """
        if len(guided.weights) > 1:
            scales = options.guidance or options.guidance_scale
            raise RequestError(
                f"guidance is for diffusion, got {scales}; set guidance_scale to 1 and leave guidance out"
            )
        condition = guided.condition
        device = condition.bias.device
        tokenizer = self.tokenizer
        prompts = torch.tensor([self._prompt(canvas) for canvas in canvases], device=device)
        room = self.decoder.config.max_tokens - prompts.shape[1]
        ends = [max(1, len(canvas.gaps)) for canvas in canvases]
        most = min(room, max(len(canvas.tokens) for canvas in canvases))
        sampler = AutoregressiveSampler(
            tokenizer.mask_token_id, tokenizer.pad_token_id, most, options.temperature, options.beams
        )
        seen = (torch.arange(len(canvases), device=device), condition)

        def next_token(tokens: Tensor, rows: Tensor, past: TextCache) -> Tensor:
            nonlocal seen
            if not torch.equal(rows, seen[0]):
                seen = rows, condition.rows(rows)
            last = torch.zeros(tokens.shape, dtype=torch.bool, device=device)
            last[:, -1] = True
            logits: Tensor = self.decoder(tokens, seen[1], last, past)
            return logits

        cache = TextCache.empty(self.decoder.config, len(canvases), prompts.shape[1] + most, condition.keys[0])
        texts = sampler.sample(next_token, prompts, ends, cache, generators)
        return self._output(canvases, texts)

    def _prompt(self, canvas: Canvas) -> list[int]:
        return autoregressive.prompt(canvas, self.tokenizer.mask_token_id, self.tokenizer.pad_token_id)

    def _output(self, canvases: Sequence[Canvas], texts: Sequence[Written]) -> SamplerOutput:
        pad = self.tokenizer.pad_token_id
        rows = [autoregressive.filled(canvas, text, pad) for canvas, text in zip(canvases, texts, strict=True)]
        tokens, confidence = (torch.tensor(part) for part in zip(*rows, strict=True))
        return SamplerOutput(tokens, confidence, torch.tensor([text.nfe for text in texts]), ())


def build_writer(decoder: CrossAttentionDecoder, tokenizer: TextTokenizer) -> Writer:
    """The writer that a decoder was trained for."""
    kind = AutoregressiveWriter if decoder.config.causal else DiffusionWriter
    return kind(decoder, tokenizer)
