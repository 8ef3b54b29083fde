"""The ways in which a decoder writes texts of one task: by diffusion of tokens or of vectors, and left to right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from multimodal.decoder import Condition, CrossAttentionDecoder, NoisyText, TextCache, left_to_right, prefix_and_draft
from multimodal.diffusion import sampler_for
from multimodal.diffusion.processes import build_process
from multimodal.diffusion.samplers import SAMPLERS, Sampler, SamplerOutput
from multimodal.errors import ConfigError, RequestError
from multimodal.generation import autoregressive
from multimodal.generation.autoregressive import AutoregressiveSampler, Written
from multimodal.generation.continuous import build_text_diffusion, text_sampling
from multimodal.generation.guidance import GuidedCondition
from multimodal.generation.length_floor import LengthFloor
from multimodal.generation.speculative import SpeculativeSampler, said_before, shifted, until_end
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
    def check(self, options: SamplerOptions) -> None:
        """Refuse what the decoder cannot follow.

        Raises:
            ConfigError: the sampler does not go with the decoder, whatever is asked for.
            RequestError: an option is for other decoders.
        """

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
        banned: Tensor | None = None,
    ) -> SamplerOutput:
        """Fill canvases of one length.

        Args:
            canvases: what to start from.
            guided: condition of the same rows, with the passes that guidance needs.
            options: of the sampler.
            generators: one per row, where chance is needed.
            trajectory: record the canvas after each step.
            banned: bool [canvases, length, vocab], what may not be written there; diffusion only.
        """


class DiffusionWriter(Writer):
    """Fills canvases by a sampler of discrete diffusion."""

    def check(self, options: SamplerOptions) -> None:
        """The sampler must go with the process that the decoder was trained by."""
        _require_one_length(options, masks=self.decoder.config.process != "uniform")
        try:
            self._kind(options)
        except ValueError as error:
            raise ConfigError(f"sampler.kind: {error}") from error

    def draws(self, options: SamplerOptions) -> bool:
        """By temperature, or by samplers that draw positions."""
        return options.temperature > 0 or self._kind(options).draws

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
        banned: Tensor | None = None,
    ) -> SamplerOutput:
        """As in `Writer.write`."""

        sampler, mask = self.sampler(options), self.tokenizer.mask_token_id
        start = torch.tensor([canvas.tokens for canvas in canvases], device=self.decoder.embedding.weight.device)
        floor = LengthFloor(start, mask, self.tokenizer.pad_token_id, options.length_quantile)

        def denoise(tokens: Tensor, rows: Tensor) -> Tensor:
            looked_at = (start[rows] if sampler.corrects else tokens) == mask
            logits = self._logits(guided, tokens, rows, looked_at)
            return floor(logits, rows) if banned is None else logits.masked_fill(banned[rows], -torch.inf)

        return sampler.sample(denoise, start, generators, trajectory)

    def _logits(self, guided: GuidedCondition, tokens: Tensor, rows: Tensor, looked_at: Tensor) -> Tensor:
        """Logits [rows, length, vocab], computed where the sampler looks at them and 0 elsewhere."""
        if looked_at.all():
            return guided.logits(self.decoder, tokens, rows)
        found = guided.logits(self.decoder, tokens, rows, looked_at)
        return found.new_zeros(*tokens.shape, found.shape[-1]).index_put((looked_at,), found)

    def _kind(self, options: SamplerOptions) -> type[Sampler]:
        return SAMPLERS[sampler_for(self.decoder.config.process, options.kind)]

    def sampler(self, options: SamplerOptions) -> Sampler:
        """The sampler that options ask for, of the process that the decoder was trained by."""
        kind, config, mask = self._kind(options), self.decoder.config, self.tokenizer.mask_token_id
        repeatable = torch.zeros(config.vocab_size, dtype=torch.bool, device=self.decoder.embedding.weight.device)
        repeatable[self.tokenizer.pad_token_id] = True
        names = {field.name for field in fields(kind)}
        chosen = {name: getattr(options, name) for name in names if hasattr(options, name)}
        if "process" in names:
            chosen["process"] = build_process(config.process, mask, config.vocab_size, **config.process_options)
        return kind(mask, repeatable=repeatable, **chosen)


class AutoregressiveWriter(Writer):
    """Fills canvases left to right, with a cache of what was read."""

    def check(self, options: SamplerOptions) -> None:
        """Guidance is not built for left-to-right decoding, and gaps are of the length that is written."""
        _require_one_length(options)
        _require_no_guidance(options)

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
        banned: Tensor | None = None,
    ) -> SamplerOutput:
        """As in `Writer.write`; there is neither guidance nor trajectory."""
        condition = guided.condition
        device = condition.bias.device
        tokenizer = self.tokenizer
        prompts = torch.tensor([self._prompt(canvas) for canvas in canvases], device=device)
        ends = [max(1, len(canvas.gaps)) for canvas in canvases]
        most = self._most(canvases, prompts.shape[1])
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

    def _most(self, canvases: Sequence[Canvas], start: int) -> int:
        """Most tokens of an answer. Canvases with gaps may differ in length; no text may depend on the others."""
        room = self.decoder.config.max_tokens - start
        return room if canvases[0].gaps else min(room, len(canvases[0].tokens))

    def _output(self, canvases: Sequence[Canvas], texts: Sequence[Written]) -> SamplerOutput:
        pad = self.tokenizer.pad_token_id
        rows = [autoregressive.filled(canvas, text, pad) for canvas, text in zip(canvases, texts, strict=True)]
        longest = max(len(tokens) for tokens, _ in rows)
        tokens = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in rows])
        confidence = torch.tensor([sureness + [1.0] * (longest - len(sureness)) for _, sureness in rows])
        return SamplerOutput(tokens, confidence, torch.tensor([text.nfe for text in texts]), ())


class SpeculativeWriter(DiffusionWriter):
    """Drafts texts and reads the drafts left to right; fills gaps by a sampler of masked diffusion."""

    def check(self, options: SamplerOptions) -> None:
        """What holds for gaps; no guidance; and what is drawn is either exact or at temperature 0."""
        super().check(options)
        _require_no_guidance(options)
        if options.acceptance < 1 and options.temperature > 0:
            raise RequestError(
                f"acceptance {options.acceptance} is for temperature 0, got {options.temperature}; set it to 1"
            )

    def write(
        self,
        canvases: Sequence[Canvas],
        guided: GuidedCondition,
        options: SamplerOptions,
        generators: Sequence[torch.Generator] | None,
        trajectory: bool,
        banned: Tensor | None = None,
    ) -> SamplerOutput:
        """As in `Writer.write`."""
        if canvases[0].gaps:
            return super().write(canvases, guided, options, generators, trajectory, banned)
        condition, mask = guided.condition, self.tokenizer.mask_token_id
        device, length = condition.bias.device, len(canvases[0].tokens)
        seen = (torch.arange(len(canvases), device=device), condition)

        def draft(rows: Tensor) -> Tensor:
            masks = torch.full((len(rows), length), mask, device=device)
            nothing = torch.zeros_like(rows)
            logits: Tensor = self.decoder(masks, condition.rows(rows), layout=prefix_and_draft(length, nothing))
            return logits

        def read(tokens: Tensor, rows: Tensor) -> Tensor:
            nonlocal seen
            if not torch.equal(rows, seen[0]):
                seen = rows, condition.rows(rows)
            logits: Tensor = self.decoder(tokens, seen[1], layout=left_to_right(tokens.shape[1], device))
            return logits

        sampler = SpeculativeSampler(
            mask, self.tokenizer.pad_token_id, options.num_steps, options.temperature, options.acceptance
        )
        given = self._given(canvases, condition, options)
        return sampler.sample(draft, read, given, generators, trajectory)

    def _given(self, canvases: Sequence[Canvas], condition: Condition, options: SamplerOptions) -> Tensor:
        """Drafts that come with the condition, int64 [rows, length]; masks in rows that have none."""
        tokens = torch.tensor([canvas.tokens for canvas in canvases], device=condition.bias.device)
        if not options.given_drafts or condition.draft is None:
            return tokens
        found = condition.draft.tokens[:, : tokens.shape[1]]
        real = until_end(found, self.tokenizer.pad_token_id)
        given = torch.full_like(tokens, self.tokenizer.pad_token_id)
        given[:, : found.shape[1]] = found.where(real, self.tokenizer.pad_token_id)
        has_draft = (condition.draft.bias == 0).any(-1)  # [rows, 1]
        return given.where(has_draft, tokens)

    def _logits(self, guided: GuidedCondition, tokens: Tensor, rows: Tensor, looked_at: Tensor) -> Tensor:
        """Logits [rows, length, vocab], each of what is said one position before it."""
        tokens = shifted(tokens, self.tokenizer.mask_token_id)
        return super()._logits(guided, tokens, rows, said_before(looked_at))[:, :-1]


class ContinuousWriter(Writer):
    """Fills canvases by a sampler of continuous diffusion."""

    def __init__(self, decoder: CrossAttentionDecoder, tokenizer: TextTokenizer) -> None:
        super().__init__(decoder, tokenizer)
        self.diffusion = build_text_diffusion(decoder, tokenizer)

    def check(self, options: SamplerOptions) -> None:
        """Lengths of gaps are not chosen without masks; what else is said of masks is not looked at."""
        _require_one_length(options)

    def draws(self, options: SamplerOptions) -> bool:
        """Always: writing starts from noise."""
        return True

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
        banned: Tensor | None = None,
    ) -> SamplerOutput:
        """As in `Writer.write`."""
        assert generators is not None

        def denoise(vectors: Tensor, estimate: Tensor | None, noise: Tensor, rows: Tensor) -> Tensor:
            text = NoisyText(vectors, estimate, noise)
            outputs = [self.decoder(text, one.rows(rows)) for one in passes]
            return outputs[0] if len(outputs) == 1 else self.diffusion.guide(outputs, guided.weights)

        passes = guided.passes
        start = torch.tensor([canvas.tokens for canvas in canvases], device=guided.condition.bias.device)
        return self.diffusion.sample(denoise, start, generators, text_sampling(options, trajectory))


def _require_one_length(options: SamplerOptions, masks: bool = False) -> None:
    if options.infill_lengths > 1 and not masks:
        raise RequestError(
            f"infill_lengths is for decoders that are trained with masks, got {options.infill_lengths}; set it to 1"
        )


def _require_no_guidance(options: SamplerOptions) -> None:
    if options.guidance_scale != 1 or options.guidance:
        scales = options.guidance or options.guidance_scale
        raise RequestError(f"guidance is for diffusion, got {scales}; set guidance_scale to 1 and leave guidance out")


def build_writer(decoder: CrossAttentionDecoder, tokenizer: TextTokenizer) -> Writer:
    """The writer that a decoder was trained for."""
    if decoder.config.continuous:
        return ContinuousWriter(decoder, tokenizer)
    if decoder.config.causal:
        return AutoregressiveWriter(decoder, tokenizer)
    kind = SpeculativeWriter if decoder.config.process == "speculative" else DiffusionWriter
    return kind(decoder, tokenizer)
