"""One training job: from a dataset and its latents to a chosen checkpoint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from multimodal.dataset import Dataset
from multimodal.decoder import ContinuousConfig, DecoderConfig
from multimodal.diffusion.processes import PROCESSES
from multimodal.errors import ConfigError
from multimodal.evaluation import SampledScorer
from multimodal.fingerprint import code_version, file_digests, fingerprint, read_index, write_index
from multimodal.generation import TextGenerator
from multimodal.generation.autoregressive import room
from multimodal.latents import LatentsInfo, LatentStore, is_encoded
from multimodal.pairs.filtered import left_out_of
from multimodal.sample import FURTHER_INPUTS, Modality, Sample, Split, Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.assembly import build_decoder, build_tokenizer
from multimodal.training.batches import TaskBatches, fitting, infill_room
from multimodal.training.bound import ValBound
from multimodal.training.calibrate import calibrate_checkpoint
from multimodal.training.checkpoint import Progress, step_folder
from multimodal.training.finetuning.rehearsal import ForgettingScorer, find_old_data
from multimodal.training.finetuning.start import initial_weights, load_start
from multimodal.training.finetuning.trainable import prepare
from multimodal.training.loop import Log, Score, Trainer
from multimodal.training.memory import memory_shape, remember_captions, retrieves, with_retrieved_captions
from multimodal.training.options import DecoderOptions, SamplerOptions, TokenizerOptions, TrainOptions

CODE = (
    "training",
    "diffusion",
    "evaluation",
    "decoder",
    "optimizer.py",
    "tasks.py",
    "tokenizer.py",
    "retrieval.py",
    "generation",
    "encoders/masked_lm.py",
)
"""What a training runs; evaluation is part of it, since the sampled val score chooses the checkpoint."""


@dataclass(frozen=True, slots=True)
class TrainJob:
    """All options that a training depends on."""

    tokenizer: TokenizerOptions
    decoder: DecoderOptions
    train: TrainOptions
    sampler: SamplerOptions
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training left behind.

    Args:
        path: folder of the run.
        checkpoint: folder of the step with the best sampled val score.
        fingerprint: of the job and its inputs.
        steps: optimiser steps done.
        val_score: best sampled val score.
        minutes: spent in training.
        num_parameters: of the decoder.
        too_long: task -> train samples left out because their text does not fit on the canvas.
    """

    path: Path
    checkpoint: Path
    fingerprint: str
    steps: int
    val_score: float
    minutes: float
    num_parameters: int
    too_long: dict[str, int]

    @property
    def history(self) -> Path:
        """Losses and scores by step, one JSON object a line."""
        return self.path / "history.jsonl"


def plan_train(
    job: TrainJob,
    dataset_fingerprint: str,
    encoder_fingerprints: Mapping[str, str],
    left_out: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a training depends on, by name; `left_out` names the samples that it does not see, if any."""
    return {
        "dataset": dataset_fingerprint,
        "encoders": dict(encoder_fingerprints),
        "tokenizer": job.tokenizer.model_dump(mode="json"),
        "decoder": job.decoder.model_dump(mode="json"),
        "train": job.train.model_dump(mode="json") | initial_weights(job.train),
        "sampler": job.sampler.model_dump(mode="json"),
        "seed": job.seed,
        "code": code_version(*CODE),
        **(left_out or {}),
    }


def train(
    job: TrainJob,
    dataset: Dataset,
    latents: Mapping[Modality, LatentsInfo],
    workspace: Path,
    log: Log = lambda step, metrics: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    generator: type[TextGenerator] = TextGenerator,
) -> TrainResult:
    """Train a decoder, or go on where an interrupted training of the same job stopped.

    Args:
        job: options.
        dataset: its train split is learnt, its val split chooses the checkpoint.
        latents: of each modality that a task of the dataset needs.
        workspace: receives `checkpoints/<fingerprint>/`.
        log: receives (step, metrics) as they happen.
        progress: receives (steps done, steps in all).
        generator: whose decoder is trained, and what writes with it when it is scored.

    Raises:
        ConfigError: no task of the job has samples in the train split, a task's latents are missing, the sampler does
            not go with the process, or the model to start from does not fit the data.
        CheckpointError: that model is incomplete or out of reach.
        EncoderError: the pretrained backbone does not fit or is out of reach.
    """
    encoders = {str(modality): info.encoder_fingerprint for modality, info in latents.items()}
    parts = plan_train(job, dataset.info.fingerprint, encoders, left_out_of(dataset))
    run = workspace / "checkpoints" / fingerprint(parts)
    if (index := read_index(run)) is not None:
        return _result(run, index)
    trainer, too_long = build_trainer(job, dataset, latents, run, log, progress, generator)
    done = trainer.train()
    if trainer.ranks.is_first:
        _finish(job, dataset, latents, parts, trainer, done, too_long)
    trainer.ranks.wait()
    return _result(run, read_index(run) or {})


def _finish(
    job: TrainJob,
    dataset: Dataset,
    latents: Mapping[Modality, LatentsInfo],
    parts: Mapping[str, Any],
    trainer: Trainer,
    done: Progress,
    too_long: Mapping[Task, int],
) -> None:
    """Calibrate the chosen checkpoint, and list the result in the run's index."""
    run, generator = trainer.run, trainer.generator
    if job.train.calibration_samples:
        tasks = trainer.tasks
        chosen = SampledScorer.choose(dataset, latents, job.sampler, Split.VAL, job.train.calibration_samples, tasks)
        calibrate_checkpoint(step_folder(run, done.best_step), chosen, generator)
    result = {
        "checkpoint": step_folder(run, done.best_step).name,
        "steps": done.step,
        "val_score": done.best_score,
        "minutes": done.seconds / 60,
        "num_parameters": generator.load(step_folder(run, done.best_step)).decoder.num_parameters,
        "too_long": {str(task): count for task, count in too_long.items() if count},
    }
    write_index(run, {"parts": parts, "result": result, "files": file_digests(run)})


def build_trainer(
    job: TrainJob,
    dataset: Dataset,
    latents: Mapping[Modality, LatentsInfo],
    run: Path,
    log: Log,
    progress: Callable[[int, int], None],
    generator: type[TextGenerator] = TextGenerator,
) -> tuple[Trainer, dict[Task, int]]:
    """The trainer of a job, and how many texts of each task are too long for it; `run` receives its checkpoints.

    Arguments and errors as of `train`.
    """
    stores = {modality: LatentStore(info.path) for modality, info in latents.items()}
    samples = _train_samples(job, dataset, stores)
    start = load_start(job.train.init_from) if job.train.init_from else None
    tokenizer = build_tokenizer(job.tokenizer, job.train, samples, start)
    kept, too_long, longest = fitting(samples, tokenizer, job.tokenizer.max_tokens)
    canvas = {str(task): min(longest[task] + 2, job.tokenizer.max_tokens) for task in kept}
    canvas |= {task: max(length, canvas.get(task, 0)) for task, length in (start.canvas if start else {}).items()}
    torch.manual_seed(job.seed)
    if retrieves(job.decoder.drafts if start is None else start.decoder.config.drafts, kept):
        stores = with_retrieved_captions(stores, kept[Task.CAPTION], dataset.samples(Split.VAL, Task.CAPTION))
    config = _decoder_config(job, kept, tokenizer, stores)
    decoder = build_decoder(job.train, config, tokenizer, start, generator.decoder_class)
    if start is None:
        remember_captions(decoder, stores, tokenizer)
    writer = generator(decoder, tokenizer, canvas).writer
    for task in kept:
        writer.check(job.sampler.of(task))
    prepare(decoder, job.train.freeze, job.train.lora)
    batches = _batches(job, kept, tokenizer, stores, decoder.config, canvas)
    bound = ValBound.choose(dataset, stores, tokenizer, decoder.config, canvas, job.train.eval_samples)
    score = _val_score(job, dataset, latents, bound)
    rehearsal: dict[Task, TaskBatches] = {}
    if start and job.train.rehearse:
        old = find_old_data(job.train.rehearse, str(job.train.init_from), latents)
        forgetting = ForgettingScorer(old, start, job.sampler, job.train.eval_samples)
        score = partial(_scores, (score, forgetting))
        if job.train.rehearse.share:
            known = old.samples(tokenizer, job.train.tasks)
            rehearsal = _batches(job, known, tokenizer, old.stores, decoder.config, canvas)
    trainer = Trainer(
        decoder, tokenizer, canvas, batches, job.train, job.seed, run, score, log, progress, generator, rehearsal
    )
    return trainer, too_long


def _result(run: Path, index: Mapping[str, Any]) -> TrainResult:
    values = index["result"]
    return TrainResult(path=run, fingerprint=run.name, **{**values, "checkpoint": run / values["checkpoint"]})


def _train_samples(
    job: TrainJob, dataset: Dataset, stores: Mapping[Modality, LatentStore]
) -> dict[Task, Sequence[Sample]]:
    by_task: dict[Task, list[Sample]] = defaultdict(list)
    for sample in dataset.samples(split=Split.TRAIN):
        for modality in _modalities(sample):
            if modality not in stores:
                raise ConfigError(
                    f"the dataset has samples for '{sample.task}', but the configuration names no {modality} "
                    f"encoder; add encode.{modality}, or drop the source"
                )
        if job.train.tasks.get(sample.task, 0) > 0 and is_encoded(sample, stores):
            by_task[sample.task].append(sample)
    if not by_task:
        raise ConfigError("no task has samples in the train split; check the ledger and `ingest.splits`")
    return {task: by_task[task] for task in Task if task in by_task}


def _modalities(sample: Sample) -> list[Modality]:
    own = [] if sample.task is Task.INFILL else [sample.modality]
    return own + ([Modality.IMAGE] if sample.picture else [])


def _batches(
    job: TrainJob,
    samples: Mapping[Task, Sequence[Sample]],
    tokenizer: TextTokenizer,
    stores: Mapping[Modality, LatentStore],
    config: DecoderConfig,
    canvas: Mapping[str, int],
) -> dict[Task, TaskBatches]:
    return {
        task: TaskBatches(
            task, rows, tokenizer, None if task is Task.INFILL else stores[task.modality], config,
            canvas[task], job.train.condition_dropout, job.seed, stores.get(Modality.IMAGE),
        )
        for task, rows in samples.items()
    }  # fmt: skip


def _decoder_config(
    job: TrainJob,
    samples: Mapping[Task, Sequence[Sample]],
    tokenizer: TextTokenizer,
    stores: Mapping[Modality, LatentStore],
) -> DecoderConfig:
    causal = job.train.process == "autoregressive"
    styles = {str(task): {sample.style for sample in rows if sample.style} for task, rows in samples.items()}
    return DecoderConfig(
        vocab_size=tokenizer.vocab_size,
        max_tokens=room(infill_room(job.tokenizer.max_tokens)) if causal else infill_room(job.tokenizer.max_tokens),
        causal=causal,
        process=job.train.process if job.train.process in PROCESSES else "absorbing",
        process_options=_process_options(job.train),
        continuous=continuous_config(job.train),
        latent_sizes={str(modality): store.hidden_size for modality, store in stores.items()},
        tasks=tuple(str(task) for task in samples),
        grid_positions=_grid_positions(stores),
        rates=_rates(samples, tokenizer, stores),
        memory=memory_shape(stores),
        further=tuple(
            name
            for name in FURTHER_INPUTS
            if any(getattr(sample, name) for rows in samples.values() for sample in rows)
        ),
        styles=tuple(sorted(set().union(*styles.values()))),
        task_styles={task: tuple(sorted(names)) for task, names in styles.items() if names},
        **job.decoder.model_dump(mode="json", exclude={"size", "drafts"}),
        drafts=tuple(str(task) for task in job.decoder.drafts if task in samples and task is not Task.INFILL),
    )


def _process_options(options: TrainOptions) -> dict[str, float]:
    if options.process != "hybrid":
        return {}
    return options.hybrid.model_dump(include={"replaced", "edit_weight", "keep_weight"})


def continuous_config(options: TrainOptions) -> ContinuousConfig | None:
    """What a decoder must know of its continuous process; None where it reads tokens."""
    if options.process not in ("gaussian", "simplex"):
        return None
    return ContinuousConfig(options.process, **options.continuous.model_dump(exclude={"self_conditioning"}))


def _grid_positions(stores: Mapping[Modality, LatentStore]) -> dict[str, int]:
    """How many latents every picture has: a tower's map has one size."""
    store = stores.get(Modality.IMAGE)
    return {str(Modality.IMAGE): len(store.get(next(iter(store))))} if store else {}


def _rates(
    samples: Mapping[Task, Sequence[Sample]], tokenizer: TextTokenizer, stores: Mapping[Modality, LatentStore]
) -> dict[str, float]:
    """Tokens per latent of the modalities whose latents follow the text's order, over the first train samples."""
    rates: dict[str, float] = {}
    for modality in (Modality.AUDIO, Modality.TEXT):
        told = [task for task in samples if task.modality is modality and task is not Task.AUDIO_CAPTION]
        rows = [sample for task in told for sample in samples[task][:_RATED]]
        rows = [sample for sample in rows if modality in stores and sample.content_id in stores[modality]]
        latents = sum(len(stores[modality].get(sample.content_id)) for sample in rows)
        if latents:
            rates[str(modality)] = sum(map(len, tokenizer.encode_batch([s.text for s in rows]))) / latents
    return rates


_RATED = 500


def _scores(scores: Sequence[Score], generator: TextGenerator) -> dict[str, float]:
    return {name: value for score in scores for name, value in score(generator).items()}


def _val_score(job: TrainJob, dataset: Dataset, latents: Mapping[Modality, LatentsInfo], bound: ValBound) -> Score:
    scorer = SampledScorer.choose(dataset, latents, job.sampler, Split.VAL, job.train.eval_samples)
    if not scorer.items:
        raise ConfigError("no task has two samples in the val split, by which checkpoints are chosen; raise splits.val")

    def score(generator: TextGenerator) -> Mapping[str, float]:
        sampled = scorer(generator)
        per_task = {f"val/{task}": value for task, value in sampled.per_task.items()}
        return {
            "val/score": sampled.value,
            "val/conditioning_gap": sampled.conditioning_gap,
            "val/nfe": sampled.nfe,
            **bound(generator.decoder),
            **per_task,
        }

    return score
