"""Descriptions of scenes: varied, within their bounds, and read back exactly."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from multimodal.synthetic.descriptions import check_caption, describe_scene
from multimodal.synthetic.scenes import Scene, SceneObject, random_scene

STYLES = (None, "formal", "informal")
CIRCLE = SceneObject("circle", "red", "small", 0, 0, 7)
STAR = SceneObject("star", "blue", "large", 2, 2, 12)
SCENE = Scene((CIRCLE, STAR), "grass")
RIGHT = "a small red circle above a large blue star on the grass"


@pytest.mark.parametrize("style", STYLES)
def test_every_description_is_read_back_as_exact(style: str | None) -> None:
    """What is written of a scene is wholly right about it, in 8 to 25 words."""
    rng = random.Random(0)
    for _ in range(1000):
        scene = random_scene(rng, held_out=None)
        text = describe_scene(scene, rng, style)
        assert check_caption(text, scene).exact, text
        assert 8 <= len(text.split()) <= 25, text


def test_no_description_fits_a_scene_with_one_thing_changed() -> None:
    """Moving, recolouring, resizing or replacing what is described, or its background, is noticed."""
    rng = random.Random(1)
    noticed = 0
    for _ in range(500):
        scene = random_scene(rng, count=1)
        text = describe_scene(scene, rng)
        thing = scene.objects[0]
        for changed in (
            replace(thing, shape="cross" if thing.shape != "cross" else "ring"),
            replace(thing, colour="pink" if thing.colour != "pink" else "white"),
            replace(thing, size="small" if thing.size == "large" else "large"),
            replace(thing, row=(thing.row + 1) % 3),
        ):
            noticed += not check_caption(text, replace(scene, objects=(changed,))).exact
        other = "sand" if scene.background != "sand" else "sky"
        noticed += not check_caption(text, replace(scene, background=other)).exact
    assert noticed == 500 * 5


@pytest.mark.parametrize(
    ("caption", "objects", "colours", "sizes", "relations"),
    [
        (RIGHT, True, True, True, True),
        (RIGHT.upper() + ".", True, True, True, True),
        ("a small red circle above a large blue heart on the grass", False, False, False, False),
        ("a small red circle above a large pink star on the grass", True, False, False, False),
        ("a large red circle above a large blue star on the grass", True, True, False, True),
        ("a small red circle below a large blue star on the grass", True, True, True, False),
        ("a small red circle above a large blue star at night", True, True, True, False),
    ],
)
def test_each_aspect_is_judged_by_itself(
    caption: str, objects: bool, colours: bool, sizes: bool, relations: bool
) -> None:
    """A caption wrong in one aspect is right in those that do not depend on it."""
    check = check_caption(caption, SCENE)
    assert (check.objects, check.colours, check.sizes, check.relations) == (objects, colours, sizes, relations)


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "on the grass",
        "nothing to see",
        "a small red circle and a large blue star on the grass",  # says nothing of where they are
        "a small red circle above a large blue star",  # no background
        f"on the grass {RIGHT}",  # the background twice
        f"{RIGHT} and",
        f"{RIGHT} on the grass",
        RIGHT.replace("circle", "circle circle"),
        "a small red circle above a large blue star and on the grass",
        "a small red circle above and a large blue star on the grass",
        "a small red circle at the top left on the grass",  # leaves an object out
        f"a small red circle above a large blue star and {RIGHT}",  # names objects twice
    ],
)
def test_text_outside_of_the_grammar_is_not_right(caption: str) -> None:
    """Garbled, repeated, unfinished and incomplete captions are not exact."""
    assert not check_caption(caption, SCENE).exact


def test_styles_say_the_same_in_other_words() -> None:
    """From the same state, a formal and an informal description name the same objects in the same order."""
    for seed in range(200):
        scene = random_scene(random.Random(seed))
        texts = [describe_scene(scene, random.Random(seed), style) for style in ("formal", "informal")]
        order = [[word for word in text.split() if word in {o.shape for o in scene.objects}] for text in texts]
        assert texts[0] != texts[1]
        assert order[0] == order[1]


def test_wording_varies() -> None:
    """A scene is described in several ways, and the vocabulary stays small."""
    rng = random.Random(2)
    scene = random_scene(rng, count=3)
    assert len({describe_scene(scene, rng) for _ in range(50)}) >= 5
    words = {word for _ in range(2000) for word in describe_scene(random_scene(rng), rng, rng.choice(STYLES)).split()}
    assert len(words) <= 80
