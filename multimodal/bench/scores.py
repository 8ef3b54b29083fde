"""Metrics of what was written: intervals over samples, spread over seeds, paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from multimodal.bench.texts import Written, by_point
from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics import TASK_METRICS, Metric, SceneExact
from multimodal.evaluation.statistics import FloatArray, bootstrap_interval, paired_bootstrap, seed_spread
from multimodal.evaluation.sufficient import Sufficient, sufficient
from multimodal.sample import Task

COMPARED = {Task.CAPTION: 2, Task.DENOISE: 2}
"""How many of a task's first metrics are compared; of the other tasks one."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one point is than another on the same samples, all seeds together.

    Args:
        gain: in the metric's unit, positive where the first is better, whatever the metric's direction.
        interval: paired bootstrap interval of the gain, over samples.
    """

    gain: float
    interval: Interval

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `equal` where the interval holds 0."""
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "equal"


@dataclass(frozen=True, slots=True)
class PointScore:
    """One metric of one task at one point of a contender's curves.

    Args:
        values: seed -> the metric.
        intervals: seed -> its 95 % bootstrap interval over samples.
        mean: over seeds.
        spread: standard deviation over seeds; None with one seed.
        nfe: mean calls of the decoder per text.
        samples: texts of each seed.
        is_main: the metric that its task is judged by.
        each: each sample's part in the metric, the mean over seeds.
    """

    contender: str
    point: str
    task: Task
    metric: str
    higher_is_better: bool
    is_main: bool
    values: dict[int, float]
    intervals: dict[int, Interval]
    mean: float
    spread: float | None
    nfe: float
    samples: int
    each: FloatArray

    def against(self, other: PointScore, resamples: int, comparisons: int = 1) -> Difference:
        """The paired difference to the same metric of another point, on the same samples.

        Args:
            comparisons: that are judged together: their intervals hold all true gains at once in 95 % of cases
                (Bonferroni's correction).
        """
        sign = 1.0 if self.higher_is_better else -1.0
        own, others = (sign * self.each).tolist(), (sign * other.each).tolist()
        confidence = 1 - 0.05 / comparisons
        test = paired_bootstrap(own, others, resamples=resamples, confidence=confidence)
        assert test.interval is not None
        return Difference(test.gain, test.interval)


def metrics_of(task: Task, items: Sequence[Item]) -> list[Metric]:
    """The metrics that are compared, the main one first: scenes described rightly, where there are scenes."""
    metrics = [metric() for metric in TASK_METRICS[task][: COMPARED.get(task, 1)]]
    scenes = task is Task.CAPTION and any(item.scene is not None for item in items)
    return [SceneExact(), *metrics] if scenes else metrics


def score_points(written: Sequence[Written], items: Mapping[Task, Sequence[Item]], resamples: int) -> list[PointScore]:
    """Every compared metric of every contender, point and task."""
    metrics = {task: metrics_of(task, of_task) for task, of_task in items.items()}
    return [
        _point_score(metric, texts, items[task], resamples, is_main=metric is metrics[task][0])
        for (_, _, task), texts in by_point(written).items()
        for metric in metrics[task]
    ]


def _point_score(
    metric: Metric, texts: Sequence[Written], items: Sequence[Item], resamples: int, is_main: bool
) -> PointScore:
    statistics = {one.seed: _statistics(metric, items, one.hypotheses) for one in texts}
    values = {seed: of_seed.value for seed, of_seed in statistics.items()}
    mean, spread = seed_spread(list(values.values())) if len(values) > 1 else (next(iter(values.values())), None)
    return PointScore(
        contender=texts[0].contender,
        point=texts[0].point,
        task=texts[0].task,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        is_main=is_main,
        values=values,
        intervals={
            seed: bootstrap_interval(of_seed.resampled, len(items), np.random.default_rng(0), resamples)
            for seed, of_seed in statistics.items()
        },
        mean=mean,
        spread=spread,
        nfe=float(np.mean([one.nfe for one in texts])),
        samples=len(items),
        each=np.mean([of_seed.of_each() for of_seed in statistics.values()], axis=0),
    )


def _statistics(metric: Metric, items: Sequence[Item], hypotheses: Sequence[str]) -> Sufficient:
    found = sufficient(metric, items, hypotheses)
    assert found is not None, metric.name  # all compared metrics are sums over samples
    return found
