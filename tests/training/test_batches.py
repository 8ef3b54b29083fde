"""Batches of one task."""

import random
from collections import Counter
from collections.abc import Callable

import torch

from multimodal.sample import Task
from multimodal.tasks import GAP_SLOTS
from multimodal.training.batches import LATER_PADDING, fitting, random_infill
from tests.training.conftest import Toy


def test_an_epoch_sees_each_sample_once(make_toy: Callable[[], Toy]) -> None:
    """Eight batches of 64 cover all 512 samples; the next epoch has another order."""
    batches = make_toy().batches[Task.CAPTION]
    first = [index for step in range(8) for index in batches._indices(step * 64, 64)]
    second = [index for step in range(8, 16) for index in batches._indices(step * 64, 64)]
    assert set(Counter(first).values()) == {1} and len(first) == 512
    assert sorted(second) == sorted(first) and second != first


def test_a_batch_depends_on_its_step_alone(make_toy: Callable[[], Toy]) -> None:
    """Two makers give the same batch for a step, whatever was asked for before."""
    one, two = make_toy().batches[Task.INFILL], make_toy().batches[Task.INFILL]
    one.batch(0, 8)
    assert torch.equal(one.batch(5, 8).x_0, two.batch(5, 8).x_0)


def test_only_the_first_padding_counts_fully(make_toy: Callable[[], Toy]) -> None:
    """Text and the padding that ends it have weight 1, what follows has a tenth."""
    toy = make_toy()
    batch = toy.batches[Task.CAPTION].batch(0, 4)
    length = len(toy.tokenizer.encode(toy.samples[toy.batches[Task.CAPTION]._indices(0, 1)[0]].text))
    assert (batch.weights[0, : length + 1] == 1).all()
    assert torch.allclose(batch.weights[0, length + 1 :], torch.tensor(LATER_PADDING))


def test_only_gaps_of_an_infill_are_open(make_toy: Callable[[], Toy]) -> None:
    """One or two runs of gap slots may be masked; what is outside of them, with the slots read, is the text."""
    toy = make_toy()
    batch = toy.batches[Task.INFILL].batch(0, 32)
    assert set((batch.open_positions.sum(-1) // GAP_SLOTS).tolist()) <= {1, 2}
    texts = {sample.text for sample in toy.samples}
    assert all(toy.tokenizer.decode(row.tolist()) in texts for row in batch.x_0)


def test_two_gaps_appear(make_toy: Callable[[], Toy]) -> None:
    """Long enough texts get two gaps now and then."""
    toy, rng = make_toy(), random.Random(0)
    text = "first red then blue and last green too"
    assert {len(random_infill(toy.tokenizer, text, 60, rng).gaps) for _ in range(30)} == {1, 2}


def test_texts_beyond_the_canvas_are_counted(make_toy: Callable[[], Toy]) -> None:
    """No sample is dropped in silence."""
    toy = make_toy()
    kept, too_long, _ = fitting({Task.CAPTION: toy.samples}, toy.tokenizer, 4)
    assert len(kept[Task.CAPTION]) + too_long[Task.CAPTION] == len(toy.samples) and too_long[Task.CAPTION] > 0


def test_parts_of_the_condition_are_dropped_together_and_alone(make_toy: Callable[[], Toy]) -> None:
    """Half of the rate falls on everything at once, half on each type by itself; at 0 nothing is dropped."""
    batches = make_toy().batches[Task.CAPTION]
    batches.condition_dropout = 0.4
    rows = torch.tensor([batches._dropped(random.Random(number)) for number in range(4000)])
    alone = 1 - 0.8 ** torch.tensor([1.0, 2.0, 3.0])
    expected = {"each": 0.2 + 0.8 * alone[0], "any": 0.2 + 0.8 * alone[2], "all": 0.2 + 0.8 * 0.2**3}
    found = {"each": rows[:, 0].float().mean(), "any": rows.any(-1).float().mean(), "all": rows.all(-1).float().mean()}
    for name, share in expected.items():
        assert abs(float(found[name]) - float(share)) < 0.03, name
    batches.condition_dropout = 0.0
    assert not any(batches._dropped(random.Random(0)))
