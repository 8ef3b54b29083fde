"""The score that training stops by: 1 for an oracle, no gap for a blind model."""

import pytest

from multimodal.errors import RequestError
from multimodal.evaluation import SampledScorer, sampled_score
from multimodal.evaluation.items import build_items
from multimodal.evaluation.sampled import bounded_score
from multimodal.sample import Split, Task
from multimodal.training.options import SamplerOptions

from .conftest import Blind, Oracle


class OnlyInfill(Oracle):
    """An oracle that was trained for one task."""

    def generate(self, requests, options, trajectory=False):
        if any(request.task is not Task.INFILL for request in requests):
            raise RequestError("not trained for this")
        return super().generate(requests, options, trajectory)


def test_an_oracle_reaches_the_top_of_every_task_and_shuffling_hurts_it(corpus):
    """All tasks but caption reach 1; CIDEr-D against two different references cannot reach 10."""
    score = sampled_score(Oracle(corpus), corpus.dataset, corpus.latents, SamplerOptions())
    assert set(score.per_task) == {str(task) for task in Task}
    assert all(value == pytest.approx(1) for task, value in score.per_task.items() if "caption" not in task)
    assert score.per_task["caption"] > 0.4
    assert score.value == pytest.approx(sum(score.per_task.values()) / len(Task))
    assert score.conditioning_gap > 0.5
    assert score.nfe == 2


def test_a_blind_model_has_no_conditioning_gap(corpus):
    """It says the same for every condition."""
    score = sampled_score(Blind(), corpus.dataset, corpus.latents, SamplerOptions(), Split.TEST)
    assert score.conditioning_gap == 0
    assert 0 <= score.value < 0.5


def test_at_most_the_asked_number_of_samples_is_written(corpus):
    """The same first samples by id each time, so that scores of different steps compare."""
    scorer = SampledScorer.choose(corpus.dataset, corpus.latents, SamplerOptions(), max_samples=2)
    assert [len(items) for items in scorer.items.values()] == [2] * len(Task)
    assert scorer(Oracle(corpus)) == scorer(Oracle(corpus))


def test_tasks_that_the_model_does_not_know_do_not_count(corpus):
    """A model of one task is judged by that task."""
    score = sampled_score(OnlyInfill(corpus), corpus.dataset, corpus.latents, SamplerOptions())
    assert score.per_task == {"infill": 1}
    assert score.value == 1


@pytest.mark.parametrize("task", list(Task))
def test_scores_stay_between_zero_and_one(corpus, task):
    """Even answers far worse than none."""
    items = build_items(corpus.dataset.samples(split=Split.VAL, task=task))
    for hypothesis in ("", "wrong words " * 50):
        assert 0 <= bounded_score(items, [hypothesis] * len(items)) <= 1
