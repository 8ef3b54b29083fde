"""What the model is asked when it is asked nothing."""

import pytest

from multimodal.evaluation.writing import write_null
from multimodal.generation import Generation
from multimodal.sample import Task
from multimodal.tasks import GAP
from multimodal.training.options import SamplerOptions


class Numbering:
    """Writes the number of the request that it gets, and keeps the requests."""

    def __init__(self):
        self.asked = []

    def generate(self, requests, options, trajectory=False):
        self.asked += requests
        return [Generation(r.request_id, r.request_id, (), (), 1, 1.0, filled=(r.request_id,)) for r in requests]


@pytest.mark.parametrize("task", list(Task))
def test_nothing_is_told_but_the_task(task):
    """No latents, no style, and of a text with a gap no words; without temperature one answer stands for all."""
    model = Numbering()
    assert write_null(model, task, 5, SamplerOptions(), most=200, batch_size=2) == ["null-0"] * 5
    (request,) = model.asked
    assert (request.task, request.hidden_states, request.style) == (task, None, "")
    assert request.text == (GAP if task is Task.INFILL else "")


def test_drawn_answers_are_given_in_turn():
    """With temperature at most so many are drawn, and each is as good for any sample."""
    model = Numbering()
    texts = write_null(model, Task.CAPTION, 5, SamplerOptions(temperature=1.0), most=3, batch_size=2)
    assert texts == ["null-0", "null-1", "null-2", "null-0", "null-1"]
    assert len(model.asked) == 3
