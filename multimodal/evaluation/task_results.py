"""One task, evaluated: what the model and the controls wrote, and how it scores."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from multimodal.evaluation.calibration import expected_calibration_error
from multimodal.evaluation.controls import constant_answer, derangement, nearest_answers
from multimodal.evaluation.decontamination import Decontamination
from multimodal.evaluation.frontier import FrontierPoint
from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics import SCENE_METRICS, Metric
from multimodal.evaluation.outcomes import judge
from multimodal.evaluation.sampled import bounded_score
from multimodal.evaluation.score import Score, TaskScore
from multimodal.evaluation.slices import Slice, slice_names, slice_scores, worst_slice
from multimodal.evaluation.statistics import bootstrap_interval
from multimodal.evaluation.sufficient import sufficient
from multimodal.evaluation.writing import Stores, answer
from multimodal.generation import Generation
from multimodal.sample import Task

_REPRODUCED = 1e-6  # how near the samples' sums come to a score that they give
_COPYABLE = (Task.DENOISE, Task.RESTYLE)  # tasks whose input is already an answer


@dataclass(frozen=True, slots=True)
class Answers:
    """One hypothesis per item from the model and from each control.

    Args:
        model: by the model.
        constant: the same text for all.
        nearest: retrieved from train.
        shuffled: by the model for another item's request.
        copied: the input unchanged, for tasks from text to text.
        null: by the model without its condition; empty in results that lack it.
    """

    model: tuple[str, ...]
    constant: tuple[str, ...]
    nearest: tuple[str, ...]
    shuffled: tuple[str, ...]
    copied: tuple[str, ...] | None = None
    null: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskResult:
    """Everything that is known about one task after evaluation; all sequences go by item.

    Args:
        seconds: wall time that the model took for all texts of the task.
        main_metric: name of the metric that `slices`, `sample_scores` and `frontier` are given in.
        sample_scores: each sample's part in that metric; their mean is the score (see `sufficient.Sufficient`).
        slice_names: the slices that each item belongs to.
        worst_slice: the slice of at least 20 samples with the worst score, None where there is none.
        ms_per_sample: wall time per text in milliseconds, the median over batches.
        frontier: quality and latency by number of steps.
        decontamination: how many of the items are in train.
        refused: requests that the model refused; they count as empty answers.
    """

    task: Task
    items: tuple[Item, ...]
    generations: tuple[Generation | None, ...]
    answers: Answers
    scores: tuple[TaskScore, ...]
    slices: tuple[Slice, ...]
    seconds: float
    main_metric: str = ""
    sample_scores: tuple[float, ...] = ()
    slice_names: tuple[tuple[str, ...], ...] = ()
    worst_slice: Slice | None = None
    ms_per_sample: float = 0.0
    frontier: tuple[FrontierPoint, ...] = ()
    decontamination: Decontamination = field(default_factory=Decontamination)

    @property
    def refused(self) -> int:
        """Requests that the model refused."""
        return sum(generation is None for generation in self.generations)

    @property
    def nfe(self) -> float:
        """Mean calls of the denoiser per text."""
        calls = [generation.nfe for generation in self.generations if generation]
        return sum(calls) / max(1, len(calls))

    def facts(self) -> dict[str, object]:
        """What report.json says about the task beside its scores."""
        return {
            "samples": len(self.items),
            "refused": self.refused,
            "nfe": round(self.nfe, 2),
            "seconds": round(self.seconds, 2),
            "ms_per_sample": round(self.ms_per_sample, 3),
            "constant_answer": self.answers.constant[0],
            "main_metric": self.main_metric,
            "worst_slice": self.worst_slice and self.worst_slice.to_json(),
            "word_calibration_error": self.word_calibration_error,
            "trusted": sum(found.trusted for found in self.generations if found),
        }

    @property
    def word_calibration_error(self) -> float | None:
        """ECE of the words' confidences, 0 to 1; None where no word was written."""
        pairs = [(item, found) for item, found in zip(self.items, self.generations, strict=True) if found]
        outcomes = [judge(*pair) for pair in pairs]
        stated = [confidence for outcome in outcomes for confidence in outcome.confidences]
        right = [hit for outcome in outcomes for hit in outcome.right]
        return round(expected_calibration_error(stated, right).value, 4) if stated else None


@dataclass(frozen=True, slots=True)
class Written:
    """What the model wrote for one task.

    Args:
        items: at least two, of one task.
        generations: one for each, None where the model refused.
        null: what it wrote for each without its condition; empty: that control is left out.
        seconds: wall time of the generations.
        ms_per_sample: wall time per text in milliseconds, the median over batches.
        shapes: content id -> shape of its picture, for `slices.slice_names`.
    """

    items: Sequence[Item]
    generations: Sequence[Generation | None]
    null: Sequence[str] = ()
    seconds: float = 0.0
    ms_per_sample: float = 0.0
    shapes: Mapping[str, str] = field(default_factory=dict)


def assess(
    written: Written,
    metrics: Sequence[Metric],
    train: Sequence[Item],
    stores: Stores,
    resamples: int = 1000,
    seed: int = 0,
) -> TaskResult:
    """Score the texts that the model wrote for one task, and the controls by the same metrics.

    Args:
        written: by the model.
        metrics: of the task.
        train: all train items of the task; the constant and nearest answers come from here.
        stores: latents by modality.
        resamples: of the bootstrap that gives intervals.
        seed: of the resamples, the same for all metrics.
    """
    items, task = written.items, written.items[0].task
    answers = _answers(written, train, stores)
    main = main_metric(metrics)
    statistics = sufficient(main, items, answers.model)
    names = slice_names(items, train, written.shapes)
    slices = slice_scores(task, main.name, statistics, names) if statistics else []
    return TaskResult(
        task=task,
        items=tuple(items),
        generations=tuple(written.generations),
        answers=answers,
        scores=tuple(_task_score(metric, items, answers, resamples, seed) for metric in metrics),
        slices=tuple(slices),
        seconds=written.seconds,
        main_metric=main.name,
        sample_scores=tuple(statistics.of_each().tolist()) if statistics else (),
        slice_names=tuple(tuple(named.values()) for named in names),
        worst_slice=worst_slice(slices, main.higher_is_better),
        ms_per_sample=written.ms_per_sample,
    )


def main_metric(metrics: Sequence[Metric]) -> Metric:
    """The metric that a task is judged by: whether scenes are described rightly, else the task's first."""
    return next((metric for metric in metrics if isinstance(metric, SCENE_METRICS)), metrics[0])


def _answers(written: Written, train: Sequence[Item], stores: Stores) -> Answers:
    items, task = written.items, written.items[0].task
    model = tuple(answer(*pair) for pair in zip(items, written.generations, strict=True))
    return Answers(
        model=model,
        constant=(constant_answer(train),) * len(items),
        nearest=tuple(nearest_answers(items, train, stores.get(task.modality))),
        shuffled=tuple(model[index] for index in derangement(len(items))),
        copied=tuple(item.input for item in items) if task in _COPYABLE else None,
        null=tuple(written.null),
    )


def _task_score(metric: Metric, items: Sequence[Item], answers: Answers, resamples: int, seed: int) -> TaskScore:
    score = metric.score(items, answers.model)
    return TaskScore(
        task=items[0].task,
        metric=metric.name,
        value=score.value,
        constant=metric.score(items, answers.constant).value,
        nearest=metric.score(items, answers.nearest).value,
        shuffled=metric.score(items, answers.shuffled).value,
        higher_is_better=metric.higher_is_better,
        counts=score.counts,
        signature=score.signature,
        copied=metric.score(items, answers.copied).value if answers.copied else None,
        must_beat=metric.must_beat,
        null=metric.score(items, answers.null).value if answers.null else None,
        interval=interval(metric, items, answers.model, score, resamples, seed),
    )


def interval(
    metric: Metric, items: Sequence[Item], hypotheses: Sequence[str], score: Score, resamples: int, seed: int
) -> tuple[float, float] | None:
    """The 95 % bootstrap interval of a score over samples; None where the samples' sums do not give the score."""
    statistics = sufficient(metric, items, hypotheses)
    if statistics is None or not math.isclose(statistics.value, score.value, rel_tol=_REPRODUCED, abs_tol=_REPRODUCED):
        return None
    return bootstrap_interval(statistics.resampled, len(items), np.random.default_rng(seed), resamples)


def modality_scores(results: Sequence[TaskResult]) -> dict[str, dict[str, float]]:
    """For each modality of the conditions the mean of its tasks' bounded scores (`sampled.bounded_score`), 0 to 1.

    Metrics of different tasks have no common unit; these do, and training stops by them.
    """
    found: dict[str, list[TaskResult]] = defaultdict(list)
    for result in results:
        found[str(result.task.modality)].append(result)
    return {
        modality: {
            "value": sum(bounded_score(part.items, part.answers.model) for part in parts) / len(parts),
            "samples": sum(len(part.items) for part in parts),
        }
        for modality, parts in sorted(found.items())
    }
