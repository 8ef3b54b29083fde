"""One task, evaluated: what the model and the controls wrote, and how it scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from multimodal.evaluation.controls import constant_answer, derangement, nearest_answers
from multimodal.evaluation.decontamination import Decontamination
from multimodal.evaluation.frontier import FrontierPoint
from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics import SCENE_METRICS, Metric, metrics_for
from multimodal.evaluation.score import TaskScore
from multimodal.evaluation.slices import Slice, slice_scores
from multimodal.evaluation.writing import Stores, answer
from multimodal.generation import Generation
from multimodal.sample import Task

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
        }


def assess(
    items: Sequence[Item],
    generations: Sequence[Generation | None],
    train: Sequence[Item],
    stores: Stores,
    seconds: float,
    null: Sequence[str] = (),
) -> TaskResult:
    """Score the texts that the model wrote for one task, and the controls by the same metrics.

    Args:
        items: at least two, of one task.
        generations: what the model wrote, None where it refused.
        train: all train items of the task; the constant and nearest answers come from here.
        stores: latents by modality.
        seconds: wall time of writing.
        null: what the model wrote for each item without its condition; empty: that control is left out.
    """
    task = items[0].task
    answers = _answers(items, generations, train, stores, null)
    metrics = metrics_for(task, items, train)
    main = next((metric for metric in metrics if isinstance(metric, SCENE_METRICS)), metrics[0])
    return TaskResult(
        task=task,
        items=tuple(items),
        generations=tuple(generations),
        answers=answers,
        scores=tuple(_task_score(metric, items, answers) for metric in metrics),
        slices=tuple(slice_scores(items, answers.model, main, train)),
        seconds=seconds,
    )


def _answers(
    items: Sequence[Item],
    generations: Sequence[Generation | None],
    train: Sequence[Item],
    stores: Stores,
    null: Sequence[str],
) -> Answers:
    task = items[0].task
    model = tuple(answer(*pair) for pair in zip(items, generations, strict=True))
    return Answers(
        model=model,
        constant=(constant_answer(train),) * len(items),
        nearest=tuple(nearest_answers(items, train, stores.get(task.modality))),
        shuffled=tuple(model[index] for index in derangement(len(items))),
        copied=tuple(item.input for item in items) if task in _COPYABLE else None,
        null=tuple(null),
    )


def _task_score(metric: Metric, items: Sequence[Item], answers: Answers) -> TaskScore:
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
    )
