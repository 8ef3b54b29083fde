"""A toy corpus that trains in seconds: latents say which words, in which order, the text has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.generation import Request, TextGenerator, pad_latents
from multimodal.generation.autoregressive import room
from multimodal.sample import Modality, Sample, Split, Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.batches import TaskBatches, infill_room
from multimodal.training.loop import Trainer
from multimodal.training.options import SamplerOptions, TrainOptions

WORDS = ("red", "green", "blue", "pink", "grey", "black", "white", "brown")


class ToyLatents:
    """One latent per word: its one-hot."""

    def get(self, content_id: str) -> np.ndarray:
        return np.eye(len(WORDS), dtype=np.float32)[[WORDS.index(word) for word in content_id.split("-")]]

    def reading(self, content_id: str) -> str:
        return ""

    def batch(self, content_ids: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        return pad_latents([self.get(content_id) for content_id in content_ids])


TAUGHT = TrainOptions(
    steps=160, batch_size=32, warmup_steps=10, learning_rate=4e-3, eval_every=160, checkpoint_every=160,
    condition_dropout=0.1, ema_decay=0.95,
)  # fmt: skip


def teach(
    samples: Sequence[Sample], run: Path, length: int = 10, steps: int = 160, vocab_size: int = 290, **shape: Any
) -> TextGenerator:
    """A small decoder that has learnt samples of one task, whose contents are toy latents."""
    task, modality = samples[0].task, samples[0].modality
    tokenizer = TextTokenizer.train(
        [text for sample in samples for text in (sample.text, sample.input) if text], vocab_size
    )
    config = DecoderConfig(
        tokenizer.vocab_size, length, {str(modality): len(WORDS)}, (str(task),),
        **{"hidden_size": 64, "num_layers": 2, "num_heads": 4, **shape},
    )  # fmt: skip
    torch.manual_seed(0)
    decoder = CrossAttentionDecoder(config)
    batches = TaskBatches(task, samples, tokenizer, ToyLatents(), config, length, TAUGHT.condition_dropout, 0)
    canvas = {str(task): length}
    trainer = Trainer(
        decoder, tokenizer, canvas, {task: batches}, TAUGHT.model_copy(update={"steps": steps}), 0, run,
        lambda _: {"val/score": 0.0}, lambda *_: None, lambda *_: None,
    )  # fmt: skip
    trainer.train()
    return TextGenerator(decoder.eval(), tokenizer, canvas)


@dataclass
class Toy:
    tokenizer: TextTokenizer
    decoder: CrossAttentionDecoder
    samples: list[Sample]
    batches: dict[Task, TaskBatches]
    latents: ToyLatents
    canvas: dict[str, int]

    def trainer(self, run: Path, options: TrainOptions, log: Callable[[int, Mapping[str, float]], None]) -> Trainer:
        return Trainer(
            self.decoder, self.tokenizer, self.canvas, self.batches, options, 3, run, self.score, log, lambda *_: None
        )

    def score(self, generator: TextGenerator) -> Mapping[str, float]:
        chosen = self.samples[::17]
        requests = [Request(s.sample_id, s.task, self.latents.get(s.content_id)) for s in chosen]
        written = generator.generate(requests, SamplerOptions())
        right = sum(generation.text == s.text for generation, s in zip(written, chosen, strict=True))
        return {"val/score": right / len(chosen)}


def build_toy(process: str = "absorbing", dropout: float = 0.1) -> Toy:
    samples = [
        Sample(f"s{i}", "-".join(words), Modality.IMAGE, Task.CAPTION, Split.TRAIN, "g", "toy", f"toy#{i}",
               f"first {words[0]} then {words[1]} and last {words[2]}")
        for i, words in enumerate(product(WORDS, repeat=3))
    ]  # fmt: skip
    tokenizer = TextTokenizer.train((sample.text for sample in samples), 300)
    config = DecoderConfig(
        tokenizer.vocab_size, room(infill_room(16)), {"image": len(WORDS)}, ("caption", "infill"),
        hidden_size=64, num_layers=2, num_heads=4, dropout=dropout,
        causal=process == "autoregressive", process="absorbing" if process == "autoregressive" else process,
    )  # fmt: skip
    torch.manual_seed(0)
    latents = ToyLatents()
    batches = {
        task: TaskBatches(task, samples, tokenizer, source, config, 16, 0.1, 3)
        for task, source in ((Task.CAPTION, latents), (Task.INFILL, None))
    }
    canvas = {"caption": 16, "infill": 16}
    return Toy(tokenizer, CrossAttentionDecoder(config), samples, batches, latents, canvas)


@pytest.fixture
def make_toy() -> Callable[..., Toy]:
    return build_toy
