"""Scenes: what they may show, and that drawing shows it."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from multimodal.synthetic.scenes import (
    BACKGROUNDS,
    CELL_PIXELS,
    COLOURS,
    HELD_OUT_PAIRS,
    SCENE_PIXELS,
    SHAPES,
    Scene,
    SceneObject,
    draw_scene,
    random_scene,
)


def pixels(scene: Scene) -> np.ndarray:
    """The drawn scene, int [height, width, 3]."""
    return np.asarray(draw_scene(scene)).astype(int)


def test_training_scenes_never_show_a_held_out_pair() -> None:
    """`held_out=False` keeps the pairs away, True always shows one, None sometimes."""
    rng = random.Random(0)

    def shows_one(held_out: bool | None) -> bool:
        return any(item.pair in HELD_OUT_PAIRS for item in random_scene(rng, held_out=held_out).objects)

    shows = {kind: [shows_one(kind) for _ in range(1500)] for kind in (False, True, None)}
    assert not any(shows[False])
    assert all(shows[True])
    assert 0 < sum(shows[None]) < 1500


def test_objects_of_a_scene_differ_in_cell_and_in_colour_and_shape() -> None:
    """An object is named uniquely by colour and shape, and has its cell for itself."""
    rng = random.Random(1)
    for _ in range(1000):
        scene = random_scene(rng, held_out=None)
        assert len({item.cell for item in scene.objects}) == len(scene.objects)
        assert len({item.pair for item in scene.objects}) == len(scene.objects)


def test_scene_survives_json() -> None:
    """A scene read back from JSON is the scene, and is drawn alike."""
    scene = random_scene(random.Random(2), count=3)
    again = Scene.from_json(json.loads(json.dumps(scene.to_json())))
    assert again == scene
    assert np.array_equal(pixels(again), pixels(scene))


def test_combination_ignores_everything_but_colours_and_shapes() -> None:
    """Scenes of the same coloured shapes are one group, whatever their order, places, sizes and background."""
    scene = random_scene(random.Random(3), count=3)
    moved = tuple(replace(item, row=2 - item.row, size="small") for item in reversed(scene.objects))
    assert replace(scene, objects=moved, background="night").combination == scene.combination
    assert "+" in scene.combination


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_stands_out_from_every_background(colour: str, background: str) -> None:
    """The middle of an object is near its colour, and far from what was there before."""
    scene = Scene((SceneObject("square", colour, "large", 1, 1, 12),), background, seed=5)
    shown = pixels(scene)[44:52, 44:52].mean((0, 1))
    empty = pixels(replace(scene, objects=()))[44:52, 44:52].mean((0, 1))
    assert np.abs(shown - COLOURS[colour]).max() <= 12
    assert np.abs(shown - empty).max() >= 40


@pytest.mark.parametrize("shape", SHAPES)
def test_objects_stay_in_their_cell(shape: str) -> None:
    """Wherever an object lies in its cell, no more than the tip of a point, two pixels, is drawn outside of it."""
    rng = random.Random(shape)
    for _ in range(20):
        scene = random_scene(rng, count=1)
        item = replace(scene.objects[0], shape=shape)
        changed = (pixels(replace(scene, objects=(item,))) != pixels(replace(scene, objects=()))).any(-1)
        for places, cell in zip(np.nonzero(changed), item.cell, strict=True):
            assert CELL_PIXELS * cell - 2 <= places.min()
            assert places.max() < CELL_PIXELS * (cell + 1) + 2


def test_large_objects_are_larger() -> None:
    """The smallest large object covers more of the picture than the largest small one, for every shape."""
    for shape in SHAPES:
        areas = []
        for size, radius in (("small", 8), ("large", 11)):
            scene = Scene((SceneObject(shape, "white", size, 1, 1, radius),), "night")
            areas.append((pixels(scene) != pixels(replace(scene, objects=()))).any(-1).sum())
        assert areas[1] > 1.4 * areas[0]


def test_other_sizes_show_the_same_scene() -> None:
    """A scene drawn at twice the size is the same picture, enlarged."""
    scene = random_scene(random.Random(4))
    twice = draw_scene(scene, 2 * SCENE_PIXELS)
    assert twice.size == (2 * SCENE_PIXELS, 2 * SCENE_PIXELS)
    assert np.abs(np.asarray(twice.reduce(2)).astype(int) - pixels(scene)).mean() < 4
