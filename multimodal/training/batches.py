"""Batches of one task each, as pure functions of (seed, task, step): a resumed run sees what it would have seen."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from multimodal.decoder import CONDITION_TYPES, ConditionInput, DecoderConfig, style_index, task_index
from multimodal.sample import FURTHER_INPUTS, Sample, Task
from multimodal.tasks import EDITING, GAP, GAP_SLOTS, Canvas, draft_batch, draw_span, hint_batch, infill_canvas
from multimodal.tokenizer import TextTokenizer

ALL_ROWS = slice(None)

LATER_PADDING = 0.1
"""Weight of padding after the first one: the first ends the text, the others only repeat that."""


VERBATIM = (Task.TRANSCRIBE, Task.DENOISE)
"""Tasks whose latents are the text itself, read aloud or misspelt."""


class Latents(Protocol):
    """What a batch needs of a latent store."""

    def batch(self, content_ids: Sequence[str], /) -> tuple[Tensor, Tensor]:
        """float32 [batch, n, d] and bool [batch, n]."""

    def reading(self, content_id: str, /) -> str:
        """The text that the encoder itself reads off a content."""


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Clean canvases of one task with their condition.

    Args:
        x_0: int64 [batch, length].
        open_positions: bool [batch, length], what may be masked.
        weights: float [batch, length], of the loss.
        condition: on the CPU.
        canvases: the rows of x_0 before padding, with their gaps.
        lengths: float [batch], tokens of each text; None where the latents are not the text itself.
        rows: of all these, what this process trains on; `condition` holds no others.
    """

    x_0: Tensor
    open_positions: Tensor
    weights: Tensor
    condition: ConditionInput
    canvases: tuple[Canvas, ...]
    lengths: Tensor | None = None
    rows: slice = field(default_factory=lambda: ALL_ROWS)

    def own(self) -> TaskBatch:
        """The batch of this process's rows alone."""
        if self.rows == ALL_ROWS:
            return self
        return TaskBatch(
            self.x_0[self.rows],
            self.open_positions[self.rows],
            self.weights[self.rows],
            self.condition,
            self.canvases[self.rows],
            None if self.lengths is None else self.lengths[self.rows],
        )

    def own_generator(self, generator: torch.Generator) -> torch.Generator:
        """What noise of this process's rows alone is drawn from: no draw of it moves `generator`, which draws the same
        in all processes. Where there is one process it is `generator` itself."""
        if self.rows == ALL_ROWS:
            return generator
        seed = int(torch.randint(2**62, (), generator=generator))
        return torch.Generator().manual_seed(seed + self.rows.start)


class TaskBatches:
    """The train samples of one task.

    Args:
        task: of all samples.
        samples: texts longer than the canvas must have been left out.
        tokenizer: turns texts into canvases.
        latents: store of the task's modality; None for infill.
        config: of the decoder.
        length: canvas length of the task.
        condition_dropout: how often each part of a row's condition is dropped.
        seed: with task and step, all that a batch depends on.
        pictures: store of the pictures beside the samples' content, all of them; None: they have none.
    """

    def __init__(
        self,
        task: Task,
        samples: Sequence[Sample],
        tokenizer: TextTokenizer,
        latents: Latents | None,
        config: DecoderConfig,
        length: int,
        condition_dropout: float,
        seed: int,
        pictures: Latents | None = None,
    ) -> None:
        self.task = task
        self.samples = samples
        self.tokenizer = tokenizer
        self.latents = latents
        self.config = config
        self.length = length
        self.condition_dropout = condition_dropout
        self.seed = seed
        self.pictures = pictures

    def batch(self, step: int, size: int, rows: slice = ALL_ROWS) -> TaskBatch:
        """The batch of one step: walks through a fresh order of all samples in each epoch.

        Args:
            step: with seed and task, all that the batch depends on.
            size: of the whole batch.
            rows: of which the condition is wanted, in a process that trains on no others.
        """
        rng = random.Random(f"{self.seed}/{self.task}/{step}")
        chosen = [self.samples[index] for index in self._indices(step * size, size)]
        canvases = [self._canvas(sample, rng) for sample in chosen]
        length = max(len(canvas.tokens) for canvas in canvases)
        pad = self.tokenizer.pad_token_id
        x_0 = torch.tensor([[*canvas.tokens, *[pad] * (length - len(canvas.tokens))] for canvas in canvases])
        open_positions = torch.tensor([_open_positions(canvas, length) for canvas in canvases])
        dropped = torch.tensor([self._dropped(rng) for _ in chosen])
        condition = self._condition(chosen[rows], dropped[rows])
        lengths = (x_0 != pad).sum(-1).float() if self.task in VERBATIM else None
        return TaskBatch(x_0, open_positions, self._weights(x_0), condition, tuple(canvases), lengths, rows)

    def _indices(self, start: int, size: int) -> list[int]:
        return [
            _epoch_order(len(self.samples), f"{self.seed}/{self.task}/{position // len(self.samples)}")[
                position % len(self.samples)
            ]
            for position in range(start, start + size)
        ]

    def _canvas(self, sample: Sample, rng: random.Random) -> Canvas:
        if self.task is Task.INFILL:
            return random_infill(self.tokenizer, sample.text, self.config.max_tokens, rng)
        ids = self.tokenizer.encode(sample.text)
        return Canvas((*ids, *[self.tokenizer.pad_token_id] * (self.length - len(ids))))

    def _draft(self, sample: Sample) -> str:
        if self.task in EDITING or self.latents is None:
            return sample.input
        return self.latents.reading(sample.content_id)

    def _dropped(self, rng: random.Random) -> list[bool]:
        """Which types are dropped: half of the rate falls on all at once, which is what a text without any condition is
        written from, and half on each type on its own, which is what guidance by one type needs (Brooks et al. 2023).
        """
        half = self.condition_dropout / 2
        everything = rng.random() < half
        unread = {name for name in FURTHER_INPUTS if name not in self.config.further}
        return [(name not in unread and rng.random() < half) or everything for name in CONDITION_TYPES]

    def _weights(self, x_0: Tensor) -> Tensor:
        padding = x_0 == self.tokenizer.pad_token_id
        later = padding.clone()
        later[:, 1:] &= padding[:, :-1]
        later[:, 0] = False
        return torch.where(later, LATER_PADDING, 1.0)

    def _condition(self, samples: Sequence[Sample], dropped: Tensor) -> ConditionInput:
        hidden_states = attention_mask = None
        if self.latents is not None:
            hidden_states, attention_mask = self.latents.batch([sample.content_id for sample in samples])
        draft, draft_mask = None, None
        if self.task in self.config.drafts:
            texts = [self._draft(sample) for sample in samples]
            draft, draft_mask = draft_batch(self.tokenizer, texts, self.config.max_draft)
        hint, hint_mask = self._hints(samples)
        picture, picture_mask = self._pictures(samples)
        return ConditionInput(
            task=task_index(self.config, [self.task] * len(samples)),
            style=style_index(self.config, [sample.style for sample in samples]),
            modality=None if self.latents is None else str(self.task.modality),
            hidden_states=hidden_states,
            attention_mask=attention_mask,
            dropped=dropped,
            draft=draft,
            draft_mask=draft_mask,
            hint=hint,
            hint_mask=hint_mask,
            picture=picture,
            picture_mask=picture_mask,
            ordered=self.task is not Task.AUDIO_CAPTION,
        )

    def _hints(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor] | tuple[None, None]:
        if "hint" not in self.config.further or not any(sample.hint for sample in samples):
            return None, None
        return hint_batch(self.tokenizer, [sample.hint for sample in samples], self.config.max_draft)

    def _pictures(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor] | tuple[None, None]:
        rows = [row for row, sample in enumerate(samples) if sample.picture]
        if "picture" not in self.config.further or self.pictures is None or not rows:
            return None, None
        found, real = self.pictures.batch([samples[row].picture for row in rows])
        picture, mask = found.new_zeros(len(samples), *found.shape[1:]), real.new_zeros(len(samples), real.shape[1])
        picture[rows], mask[rows] = found, real
        return picture, mask


def random_infill(tokenizer: TextTokenizer, text: str, max_tokens: int, rng: random.Random) -> Canvas:
    """A text with one gap, or in a third of the cases two where they fit, as a clean canvas."""
    words = text.split()
    num_gaps = 2 if len(words) >= 8 and rng.random() < 1 / 3 else 1
    pieces: list[str] = []
    fillings: list[str] = []
    bounds = [round(part * len(words) / num_gaps) for part in range(num_gaps + 1)]
    for begin, stop in itertools.pairwise(bounds):
        start, end = (begin + offset for offset in draw_span(stop - begin, rng))
        pieces += [*words[begin:start], GAP, *words[end:stop]]
        fillings.append(" ".join(words[start:end]))
    canvas = infill_canvas(tokenizer, " ".join(pieces), fillings)
    return canvas if len(canvas.tokens) <= max_tokens else Canvas(canvas.tokens[:max_tokens], canvas.gaps[:1])


def infill_room(max_text_tokens: int) -> int:
    """Positions that a text of so many tokens needs when two of its spans are gaps."""
    return max_text_tokens + 2 * GAP_SLOTS


def _open_positions(canvas: Canvas, length: int) -> list[bool]:
    if not canvas.gaps:
        return [True] * length
    inside = {position for start, end in canvas.gaps for position in range(start, end)}
    return [position in inside for position in range(length)]


_orders: dict[tuple[int, str], list[int]] = {}


def _epoch_order(count: int, key: str) -> list[int]:
    """A permutation of range(count) that depends on `key` alone; the last few are remembered."""
    if (count, key) not in _orders:
        if len(_orders) > 16:
            _orders.pop(next(iter(_orders)))
        order = list(range(count))
        random.Random(key).shuffle(order)
        _orders[count, key] = order
    return _orders[count, key]


def fitting(
    samples: Mapping[Task, Sequence[Sample]], tokenizer: TextTokenizer, max_tokens: int
) -> tuple[dict[Task, list[Sample]], dict[Task, int], dict[Task, int]]:
    """Split samples by whether their text and its end fit on the canvas.

    Returns:
        samples that fit, how many do not, and the longest text in tokens, each by task.
    """
    kept: dict[Task, list[Sample]] = {}
    too_long: dict[Task, int] = {}
    longest: dict[Task, int] = {}
    for task, task_samples in samples.items():
        lengths = [len(ids) for ids in tokenizer.encode_batch([sample.text for sample in task_samples])]
        kept[task] = [s for s, length in zip(task_samples, lengths, strict=True) if length < max_tokens]
        too_long[task] = len(task_samples) - len(kept[task])
        longest[task] = max((length for length in lengths if length < max_tokens), default=1)
    return kept, too_long, longest
