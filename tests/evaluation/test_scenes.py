"""Captions held against what was drawn."""

import json
import random

import pytest

from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics import SCENE_METRICS, metrics_for
from multimodal.evaluation.scenes import scene_share
from multimodal.evaluation.slices import NEW_PAIRS, slice_names, slice_scores
from multimodal.evaluation.sufficient import sufficient
from multimodal.sample import Split, Task
from multimodal.synthetic.descriptions import describe_scene
from multimodal.synthetic.scenes import random_scene


def scene_items(count, held_out=False, seed=1):
    rng = random.Random(seed)
    scenes = [random_scene(rng, held_out=held_out) for _ in range(count)]
    return [
        Item(
            f"s{n}", Task.CAPTION, Split.TEST, f"c{n}", (describe_scene(scene, rng),),
            attributes=json.dumps({"scene": json.dumps(scene.to_json())}),
        )
        for n, scene in enumerate(scenes)
    ]  # fmt: skip


@pytest.mark.parametrize("aspect", ["objects", "colours", "relations", "sizes", "exact"])
def test_true_descriptions_are_right_in_every_aspect(aspect):
    """What the generator writes about its own scenes holds."""
    items = scene_items(50)
    assert scene_share(items, [item.references[0] for item in items], aspect).value == 1


def test_one_wrong_colour_is_one_wrong_scene():
    """The objects stay right, the colours and so the scene do not; the size goes with its object."""
    items = scene_items(10)
    hypotheses = [item.references[0] for item in items]
    colour = json.loads(json.loads(items[3].attributes)["scene"])["objects"][0]["colour"]
    hypotheses[3] = hypotheses[3].replace(f" {colour} ", " orange " if colour != "orange" else " purple ")
    shares = {name: scene_share(items, hypotheses, name) for name in ("objects", "colours", "exact")}
    assert shares["objects"].value == 1
    assert shares["colours"].value == shares["exact"].value == 9 / 10
    assert shares["exact"].counts == {"right": 9, "samples": 10}


def test_pictures_without_a_description_are_not_counted():
    """A mixed corpus is judged on its described scenes only, and a plain one not at all."""
    items = scene_items(2)
    plain = [Item("p", Task.CAPTION, Split.TEST, "cp", ("a dog",))]
    hypotheses = [item.references[0] for item in items] + ["whatever"]
    assert scene_share([*items, *plain], hypotheses, "exact").counts["samples"] == 2
    assert {type(metric) for metric in metrics_for(Task.CAPTION, items, items)} >= set(SCENE_METRICS)
    assert not {type(metric) for metric in metrics_for(Task.CAPTION, plain, plain)} & set(SCENE_METRICS)


def test_scenes_with_pairs_new_to_train_are_a_slice():
    """Colours and shapes that were never shown together are scored apart."""
    train, held_out = scene_items(200), scene_items(5, held_out=True, seed=2)
    items = [*train[:5], *held_out]
    hypotheses = [*(item.references[0] for item in train[:5]), *[""] * 5]
    statistics = sufficient(SCENE_METRICS[0](), items, hypotheses)
    found = slice_scores(Task.CAPTION, "scene_exact", statistics, slice_names(items, train))
    slices = {part.name: part for part in found}
    assert (slices[NEW_PAIRS].count, slices[NEW_PAIRS].value) == (5, 0)
    assert sum(part.count for name, part in slices.items() if name.endswith(("object", "objects"))) == 10
