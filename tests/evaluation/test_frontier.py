"""Quality and latency by number of steps, and the preset that a budget buys."""

import json
from dataclasses import asdict, replace

import pytest

from multimodal.evaluation.frontier import FRONTIER_SAMPLES, BatchTimer, FrontierPoint, measure_frontier, presets
from multimodal.evaluation.items import build_items
from multimodal.evaluation.metrics import TASK_METRICS
from multimodal.evaluation.writing import build_request
from multimodal.sample import Split, Task
from multimodal.training.options import SamplerOptions

from .conftest import Oracle

POINT = FrontierPoint(Task.TRANSCRIBE, 2, 0.9, 1.8, 10.0, "wer", 0.3, False, 100, 25)


class Patient(Oracle):
    """Right about everything if it may take four steps, and calls the denoiser as often as it may."""

    def generate(self, requests, options, trajectory=False):
        written = super().generate(requests, options, trajectory)
        text = {} if options.num_steps >= 4 else {"text": "too early"}
        return [replace(generation, nfe=options.num_steps, **text) for generation in written]


def test_more_steps_are_better_and_dearer(corpus):
    """One point for each number of steps, in order, by the task's metric and with its denoiser calls."""
    items, sampler = build_items(corpus.dataset.samples(split=Split.TEST, task=Task.TRANSCRIBE)), SamplerOptions()
    done, metric = [], TASK_METRICS[Task.TRANSCRIBE][0]()
    points = measure_frontier(Patient(corpus), items, corpus.stores, sampler, metric, (1, 4), 4, done.append)
    assert [(point.num_steps, point.nfe) for point in points] == [(1, 1), (4, 4)]
    assert points[0].value > 0.5 and points[1].value == 0 and points[1].metric == "wer"
    assert all(point.ms_per_sample > 0 and point.samples == len(items) for point in points)
    assert all(point.batch_size == len(items) // 4 for point in points)
    assert done == [len(items)] * 2


def test_at_most_a_hundred_samples_are_written(corpus):
    """However large the split is."""
    items = build_items(corpus.dataset.samples(split=Split.TEST, task=Task.DENOISE)) * 30
    assert len(items) > FRONTIER_SAMPLES
    metric = TASK_METRICS[Task.DENOISE][0]()
    (point,) = measure_frontier(Oracle(corpus), items, corpus.stores, SamplerOptions(), metric, (2,), 64)
    assert (point.samples, point.batch_size) == (100, 25)
    assert build_request(items[0], corpus.stores).task is point.task


def test_the_time_per_sample_is_the_median_over_batches():
    """One slow batch, the first of a process say, does not set it; a small last batch counts by its size."""
    clock = iter([0.0, 9.0, 10.0, 11.5]).__next__
    timer = BatchTimer(clock)
    assert timer.ms_per_sample == 0
    for size in (10, 10, 5):
        timer(size)
    assert timer.ms_per_sample == pytest.approx(300)
    assert timer.seconds == 11.5


@pytest.mark.parametrize(("budget_ms", "steps"), [(15, 2), (25, 4), (1000, 8), (1, 2)])
def test_a_budget_buys_the_best_point_within_it(budget_ms, steps):
    """Error rates are better when lower; no budget is too small for the fastest point."""
    frontier = [POINT, replace(POINT, num_steps=4, ms_per_sample=20, value=0.1)]
    frontier += [replace(POINT, num_steps=8, ms_per_sample=40, value=0.05)]
    assert presets(frontier, budget_ms)[Task.TRANSCRIBE].num_steps == steps


def test_of_equally_good_points_the_faster_one_is_taken():
    """More steps that change nothing are not paid for; each task has its own preset."""
    caption = replace(POINT, task=Task.CAPTION, metric="cider_d", higher_is_better=True, value=5.0)
    slower = replace(caption, num_steps=16, ms_per_sample=30)
    chosen = presets([slower, caption, POINT], 100)
    assert chosen == {Task.CAPTION: caption, Task.TRANSCRIBE: POINT}
    assert presets([], 100) == {}


def test_points_survive_json():
    """frontier.json gives back what was measured."""
    assert FrontierPoint.from_json(json.loads(json.dumps(asdict(POINT)))) == POINT
