"""The training loop: Muon and AdamW, warm-up and cosine, clipping, averaging, sampled scores, exact resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from multimodal.decoder import CrossAttentionDecoder
from multimodal.errors import CheckpointError
from multimodal.generation import TextGenerator
from multimodal.optimizer import build_optimizers, set_learning_rate, warmup_cosine
from multimodal.sample import Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.batches import TaskBatches
from multimodal.training.checkpoint import (
    Progress,
    finished_steps,
    remove_other_steps,
    restore_checkpoint,
    save_checkpoint,
    step_folder,
)
from multimodal.training.objective import build_objective
from multimodal.training.options import TrainOptions
from multimodal.training.ranks import AllTasks, Ranks

Log = Callable[[int, Mapping[str, float]], None]
"""(step, metrics by name)."""

Score = Callable[[TextGenerator], Mapping[str, float]]
"""Sampled validation metrics; "val/score" is the one that models are chosen by."""

LOG_EVERY = 20
_RANK_STRIDE = 1_000_000_000_039


class Trainer:
    """Trains one decoder, together with the other processes where torchrun started several.

    Args:
        decoder: freshly initialised, or with weights to start from.
        tokenizer, canvas: stored with each checkpoint.
        batches: task -> its train batches.
        rehearsal: task -> train batches of what the starting model had learnt, by `options.rehearse.share`.
        options: how to train.
        seed: with the step, all randomness of a step.
        run: folder of checkpoints and history; what is there is resumed.
        score: sampled val metrics.
        log: receives losses and scores as they happen, in the first process.
        progress: receives (steps done, steps in all), in the first process.
        generator: what writes with the decoder when it is scored.

    Raises:
        ConfigError: there are more processes than rows in the batch of a task.
    """

    def __init__(
        self,
        decoder: CrossAttentionDecoder,
        tokenizer: TextTokenizer,
        canvas: dict[str, int],
        batches: Mapping[Task, TaskBatches],
        options: TrainOptions,
        seed: int,
        run: Path,
        score: Score,
        log: Log,
        progress: Callable[[int, int], None],
        generator: type[TextGenerator] = TextGenerator,
        rehearsal: Mapping[Task, TaskBatches] = MappingProxyType({}),
    ) -> None:
        self.options, self.seed, self.run = options, seed, run
        self.tokenizer, self.canvas, self.tasks = tokenizer, canvas, tuple(batches)
        self.sources = _sources(batches, rehearsal, options)
        self.score, self.log, self.report, self.generator = score, log, progress, generator
        self.ranks = Ranks(mixed_precision(options.mixed_precision))
        self.ranks.check({name: self._size(share) for name, (_, share) in self.sources.items()})
        self.accelerator = self.ranks.accelerator
        self.decoder = decoder.to(self.accelerator.device)
        self.averaged = {name: tensor.detach().clone() for name, tensor in self.decoder.state_dict().items()}
        self.objective = build_objective(self.decoder, tokenizer, options)
        optimizers = build_optimizers(self.decoder, self.decoder.blocks, options.optimizer, options.weight_decay)
        self.all_tasks, *self.optimizers = self.accelerator.prepare(AllTasks(self.objective), *optimizers)
        if options.compile:
            self.decoder.compile_blocks()
        self.at = Progress()

    def train(self) -> Progress:
        """Train to the end, from the newest checkpoint where there is one."""
        self._resume()
        started = time.monotonic() - self.at.seconds
        sums: dict[str, list[float]] = {}
        while not self._done():
            for name, loss in self._step(self.at.step).items():
                sums.setdefault(name, []).append(loss)
            # The first one's clock: a learning rate that follows the time must be the same everywhere.
            seconds = self.ranks.from_first(time.monotonic() - started)
            self.at = replace(self.at, step=self.at.step + 1, seconds=seconds)
            if self.ranks.is_first:
                self.report(self.at.step, self.options.steps)
            if self._due(LOG_EVERY):
                self._log({name: math.fsum(losses) / len(losses) for name, losses in sums.items()})
                sums = {}
            due = self._due(self.options.eval_every)
            if due:
                self._validate()
            if due or self._due(self.options.checkpoint_every):
                self._save()
        return self.at

    def _step(self, step: int) -> dict[str, float]:
        """One optimiser step over a micro-batch of each task; returns the losses by metric name."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        # Dropout: so that a resumed step draws what it would have, and other rows draw otherwise.
        torch.manual_seed(self.seed * 1_000_003 + step + self.ranks.index * _RANK_STRIDE)
        rate = self._set_learning_rate(step)
        batches = {
            name: source.batch(step, self._size(share), self.ranks.rows)
            for name, (source, share) in self.sources.items()
        }
        losses: dict[str, float] = {}
        total = torch.zeros((), device=self.accelerator.device)
        # One autocast and one backward for all tasks: weights are cast once, not once per task.
        with self.accelerator.autocast():
            for name, loss in self.ranks.means(self.all_tasks(batches, generator)).items():
                losses[f"train/loss/{name}"] = loss.item()
                total = total + loss * self.sources[name][1]
        self.accelerator.backward(total)
        norm = self.accelerator.clip_grad_norm_(self.objective.parameters(), self.options.gradient_clip)
        if math.isfinite(float(norm)):  # a step with a broken gradient would spoil every weight
            for optimizer in self.optimizers:
                optimizer.step()
            self._average(step)
        self.objective.zero_grad()
        return {"train/loss": total.item(), **losses, "train/gradient_norm": float(norm), "train/learning_rate": rate}

    def _size(self, share: float) -> int:
        return max(1, round(self.options.batch_size * share))

    def _due(self, every: int) -> bool:
        return self.at.step % every == 0 or self._share_done() >= 1

    def _set_learning_rate(self, step: int) -> float:
        rate = self.options.learning_rate * warmup_cosine(step, self.options.warmup_steps, self._share_done())
        set_learning_rate(self.optimizers, rate)
        return rate

    def _share_done(self) -> float:
        minutes = self.options.max_minutes
        by_time = self.at.seconds / (60 * minutes) if minutes else 0.0
        return min(1.0, max(self.at.step / self.options.steps, by_time))

    def _done(self) -> bool:
        patience = self.options.patience
        return self._share_done() >= 1 or (patience is not None and self.at.scores_since_best >= patience)

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = min(self.options.ema_decay, (1 + step) / (10 + step))
        now = self.decoder.state_dict()
        names = [name for name, tensor in self.averaged.items() if tensor.is_floating_point()]  # not remembered tokens
        torch._foreach_lerp_([self.averaged[name] for name in names], [now[name] for name in names], 1 - decay)

    def _validate(self) -> None:
        if self.ranks.is_first:
            self._score()
        self.at = self.ranks.from_first(self.at)

    def _score(self) -> None:
        with self._averaged_weights():
            scores = dict(self.score(self.generator(self.decoder, self.tokenizer, self.canvas)))
        best = self.at.best_score
        if best is None or scores["val/score"] > best:
            self.at = replace(self.at, best_score=scores["val/score"], best_step=self.at.step, scores_since_best=0)
        else:
            self.at = replace(self.at, scores_since_best=self.at.scores_since_best + 1)
        self._log(scores)

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """The decoder with its averaged weights, in evaluation mode."""
        current = {name: tensor.detach().clone() for name, tensor in self.decoder.state_dict().items()}
        self.decoder.load_state_dict(self.averaged)
        self.decoder.eval()
        try:
            # Compiled blocks are for training: writing a few texts is not worth compiling for their shapes.
            with torch.compiler.set_stance("force_eager"):
                yield
        finally:
            self.decoder.load_state_dict(current)
            self.decoder.train()

    def _save(self) -> None:
        if not self.ranks.is_first:
            return
        folder = step_folder(self.run, self.at.step)
        config: dict[str, Any] = {"decoder": self.decoder.config.to_dict(), "canvas": self.canvas}
        save_checkpoint(folder, self.decoder, self.averaged, self._plain_optimizers(), self.at, config, self.tokenizer)
        remove_other_steps(self.run, keep={self.at.step, self.at.best_step})

    def _resume(self) -> None:
        self.decoder.train()
        steps = finished_steps(self.run)
        if steps:
            folder = step_folder(self.run, steps[-1])
            self.at = restore_checkpoint(folder, self.decoder, self.averaged, self._plain_optimizers())
        if not self.ranks.agree(self.at.step):
            raise CheckpointError(
                f"the processes see other checkpoints than each other in {self.run} (this one: step {self.at.step}); "
                "the workspace must lie on a file system that all of them share"
            )
        if self.ranks.is_first:
            self._cut_history()

    def _cut_history(self) -> None:
        """Drop what was logged after the step that is gone on from."""
        history = self.run / "history.jsonl"
        self.run.mkdir(parents=True, exist_ok=True)
        rows = [json.loads(line) for line in history.read_text().splitlines()] if history.is_file() else []
        history.write_text("".join(json.dumps(row) + "\n" for row in rows if row["step"] <= self.at.step))

    def _plain_optimizers(self) -> list[torch.optim.Optimizer]:
        return [wrapped.optimizer for wrapped in self.optimizers]

    def _log(self, metrics: Mapping[str, float]) -> None:
        if not self.ranks.is_first:
            return
        with (self.run / "history.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.at.step, **metrics}) + "\n")
        self.log(self.at.step, metrics)


def _sources(
    batches: Mapping[Task, TaskBatches], rehearsal: Mapping[Task, TaskBatches], options: TrainOptions
) -> dict[str, tuple[TaskBatches, float]]:
    """Name -> batches and their share of each step."""
    old = options.rehearse.share if options.rehearse and rehearsal else 0.0
    sources: dict[str, tuple[TaskBatches, float]] = {}
    for prefix, group, share in (("", batches, 1 - old), ("rehearsal/", rehearsal, old)):
        total = sum(options.tasks[task] for task in group)
        sources |= {f"{prefix}{task}": (group[task], share * options.tasks[task] / total) for task in group}
    return sources


def mixed_precision(choice: str) -> str:
    """`auto` is bf16 where the processor or GPU computes in it, else full precision."""
    if choice != "auto":
        return choice
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "no"
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if has_bf16() else "no"
