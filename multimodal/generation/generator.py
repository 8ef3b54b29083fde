"""From conditioning latents to text: decoder, tokenizer and sampler behind one call."""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from multimodal.decoder import (
    CONDITION_TYPES,
    DRAFT,
    ConditionInput,
    CrossAttentionDecoder,
    style_index,
    task_index,
)
from multimodal.diffusion.samplers import SamplerOutput
from multimodal.errors import RequestError
from multimodal.generation.calibration import Calibration
from multimodal.generation.consensus import EmbedTexts, choose, picture_of
from multimodal.generation.constrained import Attempt, ConstrainedSearch, Sheet, ban_mask
from multimodal.generation.constraints import Constraints
from multimodal.generation.guidance import guide
from multimodal.generation.lengths import keep_likeliest, likeliest, no_padding
from multimodal.generation.storage import SavedModel
from multimodal.generation.strength import soften
from multimodal.generation.text import Generation, Request
from multimodal.generation.writers import build_writer
from multimodal.sample import Modality, Task
from multimodal.tasks import EDITING, LENGTH_BUCKET, Canvas, blank_canvas, draft_batch, hint_batch, infill_canvas
from multimodal.tokenizer import TextTokenizer
from multimodal.training.options import SamplerOptions


class TextGenerator(SavedModel):
    """Writes texts with a trained decoder.

    Args:
        decoder: on its device.
        tokenizer: that it was trained with.
        canvas: task -> canvas length of that task.
        calibrations: task -> what its probabilities are worth; tasks not named say what the softmax says.

    Attributes:
        embed_texts: text tower of the CLIP model that encodes the pictures, which `rerank: clip` needs; None: absent.
    """

    embed_texts: EmbedTexts | None = None

    def __init__(
        self,
        decoder: CrossAttentionDecoder,
        tokenizer: TextTokenizer,
        canvas: dict[str, int],
        calibrations: Mapping[str, Calibration] | None = None,
    ) -> None:
        super().__init__(decoder, tokenizer, canvas, calibrations)
        self.writer = build_writer(decoder, tokenizer)

    @property
    def device(self) -> torch.device:
        """Where the decoder is."""
        return self.decoder.embedding.weight.device

    def generate(
        self, requests: Sequence[Request], options: SamplerOptions, trajectory: bool = False
    ) -> list[Generation]:
        """Write a text for each request, in their order.

        Raises:
            RequestError: a task or style is unknown, latents have the wrong width, an infill text has no gap or is too
                long, constraints come with a strength below 1, or there is no CLIP model to choose candidates by.
            ConfigError: the sampler does not go with the process that the decoder was trained by.
        """
        self.check(requests)
        requests = [self._with_draft(request) for request in requests]
        for task in {request.task for request in requests}:
            self.writer.check(options.of(task))
        if any(request.constraints and options.of(request.task).strength < 1 for request in requests):
            raise RequestError("a strength below 1 keeps words that constraints may forbid: leave one of them out")
        pictures = [picture_of(request, options.of(request.task), self.embed_texts) for request in requests]
        counts = [options.of(request.task).candidates for request in requests]
        candidates = [
            replace(request, request_id=f"{request.request_id}/{number}") if number else request
            for request, count in zip(requests, counts, strict=True)
            for number in range(count)
        ]
        written = iter(self._generate(candidates, options, trajectory))
        chosen = [
            choose(list(itertools.islice(written, count)), picture, self.embed_texts)
            for count, picture in zip(counts, pictures, strict=True)
        ]
        return [
            self._softened(request, found, options.of(request.task))
            for request, found in zip(requests, chosen, strict=True)
        ]

    def _with_draft(self, request: Request) -> Request:
        """A caption's request with the caption that the decoder remembers of the picture most like it."""
        memory = self.decoder.memory
        if memory is None or request.task is not Task.CAPTION or request.text or request.pooled is None:
            return request
        ids = memory.nearest(torch.as_tensor(request.pooled.copy()))
        return replace(request, text=self.tokenizer.decode(ids))

    def _softened(self, request: Request, written: Generation, options: SamplerOptions) -> Generation:
        if options.strength == 1 or request.task not in EDITING:
            return written
        return soften(request.text, written, options.strength, self.tokenizer)

    def check(self, requests: Sequence[Request]) -> None:
        """Refuse what the decoder cannot write.

        Raises:
            RequestError: as in `generate`.
        """
        config = self.decoder.config
        for request in requests:
            if request.task not in config.tasks:
                known = ", ".join(config.tasks)
                raise RequestError(f"the model was not trained for '{request.task}'; it knows {known}")
            if request.style and request.style not in config.styles_of(request.task):
                known = ", ".join(config.styles_of(request.task)) or "none"
                raise RequestError(f"unknown style '{request.style}'; the model knows {known} for {request.task}")
            for name in request.further:
                self.check_reads(name)
            left_to_right = config.causal or config.process == "speculative"
            if request.constraints and (left_to_right or config.continuous or request.task is Task.INFILL):
                who = "infill" if request.task is Task.INFILL else "a model without masks"
                raise RequestError(
                    f"constraints are for texts written by diffusion from an empty canvas, not for {who}"
                )
            for what, modality, latents in (
                (request.task, request.task.modality, request.hidden_states),
                ("a picture", Modality.IMAGE, request.picture),
            ):
                size = config.latent_sizes.get(modality)
                if latents is not None and latents.shape[-1] != size:
                    raise RequestError(f"{what} takes latents of width {size}, got {latents.shape[-1]}")

    def check_reads(self, name: str) -> None:
        """Refuse a further input, hint or picture, that the decoder was not trained with.

        Raises:
            RequestError: it was not.
        """
        further = self.decoder.config.further
        if name not in further:
            known = " and ".join(further) or "nothing"
            raise RequestError(f"the model was not trained with a {name} beside its input; it reads {known} there")

    def _generate(self, requests: Sequence[Request], options: SamplerOptions, trajectory: bool) -> list[Generation]:
        canvases = [self._start(request) for request in requests]
        alike: dict[tuple[Task, bool, bool, tuple[str, ...], int], list[int]] = defaultdict(list)
        for index, (request, canvas) in enumerate(zip(requests, canvases, strict=True)):
            if request.constraints:
                continue
            has_latents, has_style = request.hidden_states is not None, bool(request.style)
            alike[request.task, has_latents, has_style, request.further, self.writer.length(canvas)].append(index)
        written: dict[int, Generation] = {}
        for index in [index for index, request in enumerate(requests) if request.constraints]:
            written[index] = self._write_constrained(requests[index], canvases[index], options)
        for (task, *_), indices in alike.items():
            group, starts = [requests[index] for index in indices], [canvases[index] for index in indices]
            chosen = options.of(task)
            write = self._write_lengths if task is Task.INFILL and chosen.infill_lengths > 1 else self._write
            with torch.no_grad():
                output = write(task, group, starts, chosen, trajectory)
            for row, index in enumerate(indices):
                written[index] = self._read(row, requests[index], canvases[index], output)
        return [written[index] for index in range(len(requests))]

    def _start(self, request: Request) -> Canvas:
        if request.task is not Task.INFILL:
            return blank_canvas(self.tokenizer, self.canvas[request.task])
        canvas = infill_canvas(self.tokenizer, request.text)
        room = self.decoder.config.max_canvas
        if len(canvas.tokens) > room:
            sizes = f"{len(canvas.tokens)} tokens, the model has room for {room}"
            raise RequestError(f"the infill text takes {sizes}: {request.text!r:.80}")
        length = min(-(-len(canvas.tokens) // LENGTH_BUCKET) * LENGTH_BUCKET, room)
        padding = [self.tokenizer.pad_token_id] * (length - len(canvas.tokens))
        return replace(canvas, tokens=(*canvas.tokens, *padding))

    def _write(
        self,
        task: Task,
        requests: Sequence[Request],
        canvases: Sequence[Canvas],
        options: SamplerOptions,
        trajectory: bool,
        banned: Tensor | None = None,
    ) -> SamplerOutput:
        guided = guide(self.decoder, self._condition(task, requests), options)
        generators = None
        if self.writer.draws(options):
            generators = [_generator(options.seed, request.request_id) for request in requests]
        return self.writer.write(canvases, guided, options, generators, trajectory, banned)

    def _write_lengths(
        self,
        task: Task,
        requests: Sequence[Request],
        canvases: Sequence[Canvas],
        options: SamplerOptions,
        trajectory: bool,
    ) -> SamplerOutput:
        """Fill gaps of some likely lengths, and keep of each request the likeliest text."""
        mask, pad = self.tokenizer.mask_token_id, self.tokenizer.pad_token_id
        guided = guide(self.decoder, self._condition(task, requests), options)
        tokens = torch.tensor([canvas.tokens for canvas in canvases], device=self.device)
        logits = guided.logits(self.decoder, tokens, torch.arange(len(tokens), device=self.device))
        logits[..., mask] = -torch.inf
        pad_probs = logits.float().softmax(-1)[..., pad].cpu()
        choices = [likeliest(*pair, options.infill_lengths) for pair in zip(canvases, pad_probs, strict=True)]
        tried = [
            (replace(request, request_id=f"{request.request_id}/{choice.lengths}"), choice.canvas(canvas, pad))
            for request, canvas, of_canvas in zip(requests, canvases, choices, strict=True)
            for choice in of_canvas
        ]
        candidates, sheets = [request for request, _ in tried], [sheet for _, sheet in tried]
        banned = no_padding(sheets, mask, pad, self.decoder.config.vocab_size, self.device)
        output = self._write(task, candidates, sheets, options, trajectory, banned)
        return keep_likeliest(canvases, choices, output)

    @torch.no_grad()
    def _write_constrained(self, request: Request, canvas: Canvas, options: SamplerOptions) -> Generation:
        """The likeliest text found that meets the request's constraints; its calls are those of all attempts."""
        calls = 0
        task, chosen = request.task, options.of(request.task)

        def fill(sheets: Sequence[Sheet]) -> list[Attempt]:
            nonlocal calls
            canvases = [Canvas(sheet.tokens) for sheet in sheets]
            banned = ban_mask(sheets, self.tokenizer.vocab_size, self.tokenizer.pad_token_id, self.device)
            output = self._write(task, [request] * len(sheets), canvases, chosen, False, banned)
            calls += int(output.nfe.sum())
            return [
                Attempt(sheet, tuple(output.tokens[row].tolist()), self._read(row, request, canvases[row], output))
                for row, sheet in enumerate(sheets)
            ]

        def likelihoods(sheet: Sheet) -> Tensor:
            nonlocal calls
            calls += 1
            tokens = torch.tensor([sheet.tokens], device=self.device)
            condition = self.decoder.condition(self._condition(task, [request]))
            logits: Tensor = self.decoder(tokens, condition)[0]
            return logits.log_softmax(-1)

        search = ConstrainedSearch(self.tokenizer, fill, likelihoods, len(canvas.tokens))
        found = search.write((request.constraints or Constraints()).checked())
        return replace(found, nfe=calls)

    def _condition(self, task: Task, requests: Sequence[Request]) -> ConditionInput:
        config = self.decoder.config
        states = [request.hidden_states for request in requests if request.hidden_states is not None]
        hidden_states, attention_mask = pad_latents(states) if states else (None, None)
        reads = task is not Task.INFILL and task.modality in config.latent_sizes
        dropped = torch.zeros(len(requests), len(CONDITION_TYPES), dtype=torch.bool)
        draft, draft_mask = None, None
        if task in config.drafts:
            nothing = [request.hidden_states is None or not request.text for request in requests]
            dropped[:, DRAFT] = torch.tensor(nothing)  # the null condition has no draft either
            drafts = draft_batch(self.tokenizer, [request.text for request in requests], config.max_draft)
            draft, draft_mask = (part.to(self.device) for part in drafts)
        hint, hint_mask, picture, picture_mask = None, None, None, None
        if any(request.hint for request in requests):
            hints = hint_batch(self.tokenizer, [request.hint for request in requests], config.max_draft)
            hint, hint_mask = (part.to(self.device) for part in hints)
        pictures = [request.picture for request in requests if request.picture is not None]
        if pictures:
            picture, picture_mask = (part.to(self.device) for part in pad_latents(pictures))
        return ConditionInput(
            task=task_index(config, [task] * len(requests)).to(self.device),
            style=style_index(config, [request.style for request in requests]).to(self.device),
            modality=str(task.modality) if reads else None,
            hidden_states=None if hidden_states is None else hidden_states.to(self.device),
            attention_mask=None if attention_mask is None else attention_mask.to(self.device),
            dropped=dropped.to(self.device),
            draft=draft,
            draft_mask=draft_mask,
            hint=hint,
            hint_mask=hint_mask,
            picture=picture,
            picture_mask=picture_mask,
            ordered=task is not Task.AUDIO_CAPTION,
        )

    def _text(self, ids: Sequence[int], canvas: Canvas) -> str:
        """The text of a canvas; a gap's filling is words of its own, whatever its tokens say."""
        cuts = [0, *(cut for gap in canvas.gaps for cut in gap), len(ids)]
        parts = [self.tokenizer.decode(ids[start:stop]) for start, stop in itertools.pairwise(cuts)]
        return " ".join(part for part in parts if part)

    def _read(self, row: int, request: Request, canvas: Canvas, output: SamplerOutput) -> Generation:
        tokenizer, pad = self.tokenizer, self.tokenizer.pad_token_id
        ids = output.tokens[row].tolist()
        confidences = output.confidence[row].tolist()
        written = [position for position, token in enumerate(canvas.tokens) if token == tokenizer.mask_token_id]
        end = len(canvas.tokens) if canvas.gaps else _end(ids, pad)
        kept = [position for position in range(end) if ids[position] != pad]
        logs = [np.log(max(confidences[position], 1e-9)) for position in written]
        score = float(np.exp(np.mean(logs))) if logs else 1.0
        known = self.calibrations.get(request.task)
        confidence = known.text(score) if known else score
        return Generation(
            request_id=request.request_id,
            text=self._text(ids[:end], canvas),
            tokens=tokenizer.pieces([ids[position] for position in kept]),
            confidences=tuple(
                known.token(confidences[position]) if known else confidences[position] for position in kept
            ),
            nfe=int(output.nfe[row]),
            score=score,
            confidence=min(max(confidence, 0.0), 1.0),
            trusted=known is None or confidence >= known.trusted_from,
            trajectory=tuple(tokenizer.pieces(step[row].tolist()) for step in output.trajectory),
            filled=tuple(tokenizer.decode(ids[start:stop]) for start, stop in canvas.gaps),
        )


def pad_latents(states: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Latents [n_i, d] as one float32 batch [batch, n, d] and its mask, bool [batch, n]."""
    length = max(len(state) for state in states)
    hidden_states = torch.zeros(len(states), length, states[0].shape[-1])
    attention_mask = torch.zeros(len(states), length, dtype=torch.bool)
    for row, state in enumerate(states):
        hidden_states[row, : len(state)] = torch.from_numpy(np.asarray(state, dtype=np.float32))
        attention_mask[row, : len(state)] = True
    return hidden_states, attention_mask


def _end(ids: Sequence[int], pad: int) -> int:
    """Where a text ends: at its first padding."""
    return ids.index(pad) if pad in ids else len(ids)


def _generator(seed: int, request_id: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{request_id}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
