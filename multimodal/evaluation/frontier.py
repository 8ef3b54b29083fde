"""Quality and latency against the number of denoising steps, so that a preset can be picked by budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from multimodal.sample import Task

if TYPE_CHECKING:
    from multimodal.evaluation.items import Item
    from multimodal.evaluation.metrics import Metric
    from multimodal.evaluation.writing import Generator, Stores
    from multimodal.training.options import SamplerOptions

FRONTIER_SAMPLES = 100
"""Most samples of a task that are written at each number of steps."""

_BATCHES = 4  # at least, where there are as many samples: a median of fewer times says little


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """What one setting of the sampler costs and gives on one task.

    Args:
        task: what is written.
        num_steps: most steps of the sampler.
        threshold: its confidence threshold.
        nfe: mean calls of the denoiser per text.
        ms_per_sample: wall time per text in milliseconds, the median over batches.
        metric: name of the task's main metric.
        value: its value.
        higher_is_better: its direction.
        samples: texts written.
        batch_size: texts at once while the time was taken.
    """

    task: Task
    num_steps: int
    threshold: float
    nfe: float
    ms_per_sample: float
    metric: str
    value: float
    higher_is_better: bool
    samples: int
    batch_size: int

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FrontierPoint:
        """A point as frontier.json and report.json hold it."""
        return cls(**{**values, "task": Task(values["task"])})


class BatchTimer:
    """Times batches: call it with a batch's size when the batch is done; the clock starts when it is made."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._last = clock, clock()
        self.seconds = 0.0
        self._per_sample: list[float] = []

    def __call__(self, size: int) -> None:
        """A batch of `size` texts is done."""
        now = self._clock()
        self.seconds += now - self._last
        self._per_sample.append((now - self._last) / max(1, size))
        self._last = now

    @property
    def ms_per_sample(self) -> float:
        """Median over batches of the wall time per text, in milliseconds; 0 before the first batch."""
        return 1000 * median(self._per_sample) if self._per_sample else 0.0


def measure_frontier(
    generator: Generator,
    items: Sequence[Item],
    stores: Stores,
    sampler: SamplerOptions,
    metric: Metric,
    steps: Sequence[int],
    batch_size: int,
    wrote: Callable[[int], None] | None = None,
) -> tuple[FrontierPoint, ...]:
    """Write the first samples of one task once for each number of steps, and score and time them.

    Args:
        generator: the model.
        items: of one task; the first `FRONTIER_SAMPLES` are written.
        stores: latents by modality.
        sampler: its other settings.
        metric: the task's main metric.
        steps: most steps of the sampler, one point each.
        batch_size: most requests at once; fewer where that makes four batches.
        wrote: told the number of texts after each batch.
    """
    from multimodal.evaluation.writing import answer, write_texts  # loads torch, which picking a preset does without

    chosen, sampler = items[:FRONTIER_SAMPLES], sampler.of(items[0].task)
    size = max(1, min(batch_size, len(chosen) // _BATCHES))
    points = []
    for num_steps in steps:
        options, timer = sampler.model_copy(update={"num_steps": num_steps}), BatchTimer()
        generations = write_texts(generator, chosen, stores, options, size, timer)
        texts = [answer(*pair) for pair in zip(chosen, generations, strict=True)]
        calls = [generation.nfe for generation in generations if generation]
        points.append(
            FrontierPoint(
                task=chosen[0].task,
                num_steps=num_steps,
                threshold=sampler.threshold,
                nfe=sum(calls) / max(1, len(calls)),
                ms_per_sample=timer.ms_per_sample,
                metric=metric.name,
                value=metric.score(chosen, texts).value,
                higher_is_better=metric.higher_is_better,
                samples=len(chosen),
                batch_size=size,
            )
        )
        if wrote:
            wrote(len(chosen))
    return tuple(points)


def presets(frontier: Sequence[FrontierPoint], budget_ms: float) -> dict[Task, FrontierPoint]:
    """For each task the point with the best quality within a budget; the fastest point where none keeps to it.

    Args:
        frontier: points of any tasks.
        budget_ms: wall time per text, in milliseconds.
    """
    return {task: _preset([point for point in frontier if point.task is task], budget_ms) for task in _tasks(frontier)}


def _preset(points: Sequence[FrontierPoint], budget_ms: float) -> FrontierPoint:
    affordable = [point for point in points if point.ms_per_sample <= budget_ms]
    if not affordable:
        return min(points, key=lambda point: point.ms_per_sample)

    def rank(point: FrontierPoint) -> tuple[float, float]:
        return (point.value if point.higher_is_better else -point.value), -point.ms_per_sample

    return max(affordable, key=rank)


def _tasks(frontier: Sequence[FrontierPoint]) -> list[Task]:
    return list(dict.fromkeys(point.task for point in frontier))
