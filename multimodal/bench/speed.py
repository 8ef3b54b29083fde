"""How fast contenders write and train, and what their encoders add.

Contenders are timed in turn, round by round, so that what disturbs the machine disturbs them alike.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from multimodal.bench.contenders import GENERATORS, Materials, Trained, job_of
from multimodal.bench.options import DEFAULT, BenchOptions, Timing
from multimodal.encoders import build_encoder
from multimodal.evaluation.frontier import BatchTimer
from multimodal.evaluation.items import Item
from multimodal.evaluation.writing import Stores, write_texts
from multimodal.generation import TextGenerator
from multimodal.sample import Modality, Split, Task
from multimodal.training.batches import TaskBatch
from multimodal.training.job import build_trainer
from multimodal.training.loop import Trainer
from multimodal.training.options import SamplerOptions

WARM_UP_STEPS = 2
"""Optimiser steps before the clock starts."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Wall-clock time of writing, from latents to text.

    Args:
        ms_per_text: median over rounds of the median over batches, in milliseconds.
    """

    contender: str
    point: str
    task: Task
    batch_size: int
    ms_per_text: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """Speed of a training.

    Args:
        tokens_per_second: tokens of the texts, each with its end, padding left out.
        bare_tokens_per_second: the same of nothing but forward, backward and optimiser step on one batch.
    """

    contender: str
    tokens_per_second: float
    bare_tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Speed:
    """All that was timed.

    Args:
        threads: of PyTorch meanwhile.
        latencies: of every contender at every point.
        alone_equals_batch: contender -> share of texts that are the same alone as in the largest batch.
        encoder_ms: modality -> median milliseconds for one content alone, decoding and preprocessing included.
        training: of every contender.
    """

    threads: int
    latencies: tuple[Latency, ...]
    alone_equals_batch: dict[str, float]
    encoder_ms: dict[str, float]
    training: tuple[Throughput, ...]


def measure_speed(
    options: BenchOptions, trained: Sequence[Trained], items: Mapping[Task, Sequence[Item]], materials: Materials
) -> Speed:
    """Time one checkpoint of each contender: that of the first seed."""
    timing = options.timing
    chosen = {task: of_task[: timing.samples] for task, of_task in items.items()}
    with threads(timing.threads):
        generators = {one.contender: one.load() for one in trained}
        points = {name: options.points_of(name) for name in generators}
        return Speed(
            timing.threads,
            tuple(_latencies(generators, points, chosen, materials.stores, timing)),
            {
                name: _alone_equals_batch(generator, points[name][DEFAULT], chosen, materials.stores, timing)
                for name, generator in generators.items()
            },
            _encoder_ms(materials, timing.contents) if timing.contents else {},
            tuple(measure_training(options, name, materials) for name in generators) if timing.train_steps else (),
        )


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch with so many threads, for the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _latencies(
    generators: Mapping[str, TextGenerator],
    points: Mapping[str, Mapping[str, SamplerOptions]],
    items: Mapping[Task, Sequence[Item]],
    stores: Stores,
    timing: Timing,
) -> Iterator[Latency]:
    settings = [(name, point) for name in generators for point in points[name]]
    for task, of_task in items.items():
        for batch_size in timing.batch_sizes:
            taken: dict[tuple[str, str], list[float]] = defaultdict(list)
            for number in range(1 + timing.rounds):
                for name, point in settings:
                    timer = BatchTimer()
                    write_texts(generators[name], of_task, stores, points[name][point], batch_size, timer)
                    if number:  # the first round warms up
                        taken[name, point].append(timer.ms_per_sample)
            for (name, point), times in taken.items():
                yield Latency(name, point, task, batch_size, median(times))


def _alone_equals_batch(
    generator: TextGenerator,
    sampler: SamplerOptions,
    items: Mapping[Task, Sequence[Item]],
    stores: Stores,
    timing: Timing,
) -> float:
    """The share of texts that do not depend on their batch."""
    same = []
    for of_task in items.values():
        alone = write_texts(generator, of_task, stores, sampler, 1)
        together = write_texts(generator, of_task, stores, sampler, max(timing.batch_sizes))
        same += [(a and a.text) == (b and b.text) for a, b in zip(alone, together, strict=True)]
    return sum(same) / len(same)


def _encoder_ms(materials: Materials, count: int) -> dict[str, float]:
    return {str(modality): _ms_per_content(materials, modality, count) for modality in materials.latents}


@torch.no_grad()
def _ms_per_content(materials: Materials, modality: Modality, count: int) -> float:
    encoder_options = materials.encoders.of(modality)
    assert encoder_options is not None  # it made the latents
    encoder = build_encoder(encoder_options, modality)
    samples = materials.dataset.samples(split=Split.TEST)
    tested = dict.fromkeys(s.content_id for s in samples if s.modality is modality and s.task is not Task.INFILL)
    wanted = [content_id for content_id in tested if content_id in materials.stores[modality]][: count + 1]
    taken = []
    for content in materials.dataset.contents(wanted, modality):
        start = time.perf_counter()
        encoder.encode([encoder.preprocess(content.data)])
        taken.append(1000 * (time.perf_counter() - start))
    return median(taken[1:] or taken)  # the first warms up


def measure_training(options: BenchOptions, name: str, materials: Materials) -> Throughput:
    """Train for a few steps that nobody keeps, and then do no more with the last batch than a training must."""
    steps = WARM_UP_STEPS + options.timing.train_steps
    job = job_of(options.config_of(name, options.seeds[0]))
    brief = {"steps": steps, "max_minutes": None, "eval_every": steps, "checkpoint_every": steps, "eval_samples": 2}
    job = replace(job, train=job.train.model_copy(update=brief))
    ends: list[float] = []
    batches: list[TaskBatch] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer, _ = build_trainer(
            job, materials.dataset, materials.latents, Path(folder) / "run", lambda step, metrics: None,
            lambda done, total: ends.append(time.perf_counter()), GENERATORS[options.catalogue[name].model],
        )  # fmt: skip
        watch = trainer.objective.register_forward_pre_hook(lambda module, inputs: batches.append(inputs[0]))
        trainer.train()
        watch.remove()
    seconds = [later - earlier for earlier, later in pairwise(ends[WARM_UP_STEPS - 1 :])]
    last = batches[-(len(batches) // steps) :]
    pad = trainer.tokenizer.pad_token_id
    bare = _bare_step_seconds(trainer, last, options.timing.train_steps)
    return Throughput(name, _tokens(batches, pad) / steps / median(seconds), _tokens(last, pad) / bare)


def _tokens(batches: Sequence[TaskBatch], pad: int) -> int:
    return sum(int((batch.x_0 != pad).sum()) + len(batch.x_0) for batch in batches)


def _bare_step_seconds(trainer: Trainer, batches: Sequence[TaskBatch], steps: int) -> float:
    generator = torch.Generator().manual_seed(0)
    taken = []
    for _ in range(WARM_UP_STEPS + steps):
        start = time.perf_counter()
        with trainer.accelerator.autocast():
            loss = torch.stack([trainer.objective(batch, generator).mean for batch in batches]).sum()
        trainer.accelerator.backward(loss)
        for optimizer in trainer.optimizers:
            optimizer.step()
        trainer.objective.zero_grad()
        taken.append(time.perf_counter() - start)
    return median(taken[WARM_UP_STEPS:])
