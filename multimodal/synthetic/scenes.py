"""Endless scenes of coloured shapes, drawn and described, with an exact check of what a caption says about them.

A scene has one to three objects in different cells of a 3 x 3 grid, before one of six backgrounds. Its description
uses a closed grammar of about seventy words (`multimodal.synthetic.descriptions` writes and reads it):

    caption := [background] [there is] clause {and clause} [background]
    clause  := object [is] where {and where}          object := a size colour shape
    where   := place | relation object

Nothing here is random on its own: the caller passes a `random.Random`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
COLOURS = {
    "red": (222, 32, 36),
    "orange": (250, 138, 20),
    "yellow": (252, 230, 40),
    "green": (24, 186, 66),
    "blue": (36, 84, 232),
    "purple": (142, 44, 184),
    "pink": (255, 134, 200),
    "white": (250, 250, 250),
}
SIZES = {"small": (6, 8), "large": (11, 13)}
"""Size -> least and greatest radius in pixels of a 96 px scene."""
BACKGROUNDS = ("grass", "sand", "sky", "night", "brick", "grey")
GRID = 3
SCENE_PIXELS = 96
CELL_PIXELS = SCENE_PIXELS // GRID
HELD_OUT_PAIRS = frozenset({("red", "star"), ("blue", "heart"), ("green", "ring")})
"""(colour, shape) pairs that no training scene shows: what they look like has to be composed."""

_ANGLES = (-12, -8, -4, 0, 4, 8, 12)
_OVERSAMPLING = 4
_OUTLINE = (24, 24, 28)


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object: what it is, its cell, and how it lies in there.

    Args:
        row, column: cell of the grid, 0 is top and left.
        radius: pixels from the centre to the rim of a 96 px scene.
        dx, dy: pixels that its centre lies right of and below the cell's centre.
        angle: degrees, counter-clockwise.
    """

    shape: str
    colour: str
    size: str
    row: int
    column: int
    radius: int
    dx: int = 0
    dy: int = 0
    angle: int = 0

    @property
    def pair(self) -> tuple[str, str]:
        """(colour, shape): names the object uniquely within its scene."""
        return self.colour, self.shape

    @property
    def cell(self) -> tuple[int, int]:
        """(row, column)."""
        return self.row, self.column


@dataclass(frozen=True, slots=True)
class Scene:
    """Objects with different (colour, shape) in different cells, before a background.

    Args:
        seed: decides the piece of texture and the shades; drawing has no other randomness.
    """

    objects: tuple[SceneObject, ...]
    background: str
    seed: int = 0

    @property
    def combination(self) -> str:
        """The sorted (colour, shape) pairs: scenes of one combination belong in one split."""
        return "+".join(sorted(f"{colour}-{shape}" for colour, shape in (item.pair for item in self.objects)))

    def to_json(self) -> dict[str, Any]:
        """The scene as JSON values; `from_json` reads it back."""
        return {"objects": [asdict(item) for item in self.objects], "background": self.background, "seed": self.seed}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Scene:
        """The scene that `to_json` wrote."""
        return cls(tuple(SceneObject(**item) for item in value["objects"]), value["background"], value["seed"])


def random_scene(rng: Random, *, held_out: bool | None = False, count: int | None = None) -> Scene:
    """One scene.

    Args:
        held_out: False never shows a pair of `HELD_OUT_PAIRS`, True shows at least one, None takes what comes.
        count: number of objects; one to three by default.
    """
    count = count or rng.choice((1, 2, 2, 3, 3))
    pairs = _random_pairs(rng, count, held_out)
    cells = rng.sample([(row, column) for row in range(GRID) for column in range(GRID)], count)
    objects = tuple(
        _random_object(rng, colour, shape, cell) for (colour, shape), cell in zip(pairs, cells, strict=True)
    )
    return Scene(objects, rng.choice(BACKGROUNDS), rng.randrange(2**31))


def _random_pairs(rng: Random, count: int, held_out: bool | None) -> list[tuple[str, str]]:
    every = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    if held_out is None:
        return rng.sample(every, count)
    seen = [pair for pair in every if pair not in HELD_OUT_PAIRS]
    if not held_out:
        return rng.sample(seen, count)
    pairs = [rng.choice(sorted(HELD_OUT_PAIRS)), *rng.sample(seen, count - 1)]
    rng.shuffle(pairs)
    return pairs


def _random_object(rng: Random, colour: str, shape: str, cell: tuple[int, int]) -> SceneObject:
    size = rng.choice(tuple(SIZES))
    radius = rng.randint(*SIZES[size])
    play = CELL_PIXELS // 2 - radius - 1  # keeps the object and its outline inside its cell
    dx, dy = rng.randint(-play, play), rng.randint(-play, play)
    return SceneObject(shape, colour, size, *cell, radius, dx, dy, rng.choice(_ANGLES))


def draw_scene(scene: Scene, size: int = SCENE_PIXELS) -> Image.Image:
    """The scene as an antialiased RGB picture of `size` x `size` pixels; the same scene gives the same pixels."""
    rng = Random(scene.seed)
    picture = _background(scene.background, rng)
    for item in scene.objects:
        x = item.column * CELL_PIXELS + CELL_PIXELS // 2 + item.dx
        y = item.row * CELL_PIXELS + CELL_PIXELS // 2 + item.dy
        inner, outer = _masks(item.shape, item.radius, item.angle)
        corner = (x - inner.width // 2, y - inner.height // 2)
        shade = tuple(max(0, min(255, channel + rng.randint(-10, 10))) for channel in COLOURS[item.colour])
        picture.paste(_OUTLINE, corner, outer)
        picture.paste(shade, corner, inner)
    return picture if size == SCENE_PIXELS else picture.resize((size, size), Image.Resampling.BICUBIC)


def _background(name: str, rng: Random) -> Image.Image:
    texture = _texture(name)
    left = rng.randrange(texture.width - SCENE_PIXELS + 1)
    top = rng.randrange(texture.height - SCENE_PIXELS + 1)
    return texture.crop((left, top, left + SCENE_PIXELS, top + SCENE_PIXELS))


@cache
def _texture(name: str) -> Image.Image:
    """A 288 px piece of the background, muted so that every object colour stands out."""
    noise = np.random.default_rng(BACKGROUNDS.index(name))
    side = 3 * SCENE_PIXELS
    pixels = _TEXTURES[name](noise, side)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")


def _flat(colour: tuple[int, int, int], side: int) -> np.ndarray:
    return np.broadcast_to(np.array(colour, dtype=np.float64), (side, side, 3)).copy()


def _cloud(noise: np.random.Generator, side: int, grain: int) -> np.ndarray:
    """Smooth noise in [-1, 1], [side, side, 1]; `grain` is the size of its blobs in pixels."""
    coarse = Image.fromarray(noise.uniform(-1, 1, (side // grain, side // grain)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))[..., None]


def _grass(noise: np.random.Generator, side: int) -> np.ndarray:
    blades = noise.normal(0, 1, (side // 6, side, 1)).repeat(6, axis=0)
    pixels: np.ndarray = (
        _flat((78, 104, 52), side) + 11 * blades * np.array([0.8, 1.0, 0.6]) + 10 * _cloud(noise, side, 24)
    )
    return pixels


def _sand(noise: np.random.Generator, side: int) -> np.ndarray:
    ripples = np.sin(np.arange(side) / 3.5)[:, None, None] + _cloud(noise, side, 16)
    pixels: np.ndarray = _flat((188, 166, 122), side) + 6 * ripples + noise.normal(0, 6, (side, side, 1))
    return pixels


def _sky(noise: np.random.Generator, side: int) -> np.ndarray:
    clouds = np.clip(_cloud(noise, side, 36) + 0.4 * _cloud(noise, side, 12), 0, 1)
    pixels: np.ndarray = _flat((136, 176, 206), side) + 48 * clouds * np.array([1.0, 0.7, 0.4])
    return pixels


def _night(noise: np.random.Generator, side: int) -> np.ndarray:
    stars = (noise.random((side, side, 1)) < 0.004) * noise.uniform(60, 150, (side, side, 1))
    pixels: np.ndarray = _flat((24, 26, 46), side) + 8 * _cloud(noise, side, 36) + stars
    return pixels


def _brick(noise: np.random.Generator, side: int) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    course = rows // 8
    across = columns + 8 * (course % 2)
    mortar = (rows % 8 == 0) | (across % 16 == 0)
    tints = noise.normal(0, 8, (side, side))[course, across // 16][..., None]
    bricks = _flat((126, 76, 62), side) + tints + noise.normal(0, 4, (side, side, 1))
    return np.where(mortar[..., None], np.array([158.0, 148.0, 140.0]), bricks)


def _grey(noise: np.random.Generator, side: int) -> np.ndarray:
    pixels: np.ndarray = _flat((122, 122, 124), side) + 4 * _cloud(noise, side, 96)
    return pixels


_TEXTURES = {"grass": _grass, "sand": _sand, "sky": _sky, "night": _night, "brick": _brick, "grey": _grey}


@cache
def _masks(shape: str, radius: int, angle: int) -> tuple[Image.Image, Image.Image]:
    """Antialiased coverage of the shape, and of the shape with an outline one pixel wide around it."""
    inner = _coverage(shape, radius, angle)
    offsets = [(dx, dy) for dx in (-3, 0, 3) for dy in (-3, 0, 3)]  # in oversampled pixels
    outer = inner
    for dx, dy in offsets:
        outer = ImageChops.lighter(outer, ImageChops.offset(inner, dx, dy))
    return inner.reduce(_OVERSAMPLING), outer.reduce(_OVERSAMPLING)


def _coverage(shape: str, radius: int, angle: int) -> Image.Image:
    side = 2 * (radius + 3) * _OVERSAMPLING
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    centre, r = side / 2, radius * _OVERSAMPLING

    def place(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        return [(centre + r * (x * cos + y * sin), centre + r * (y * cos - x * sin)) for x, y in points]

    if shape in ("circle", "ring"):
        draw.ellipse((centre - r, centre - r, centre + r, centre + r), fill=255)
        hole = 0.55 * r if shape == "ring" else 0.0
        if hole:
            draw.ellipse((centre - hole, centre - hole, centre + hole, centre + hole), fill=0)
    else:
        draw.polygon(place(_POLYGONS[shape]), fill=255)
    return mask


def _star_points() -> list[tuple[float, float]]:
    radii = (1.08, 0.45)
    turns = [math.pi * (k / 5 - 0.5) for k in range(10)]
    return [(radii[k % 2] * math.cos(turn), radii[k % 2] * math.sin(turn)) for k, turn in enumerate(turns)]


def _heart_points() -> list[tuple[float, float]]:
    turns = [2 * math.pi * k / 48 for k in range(48)]
    return [
        (
            math.sin(turn) ** 3,
            -(13 * math.cos(turn) - 5 * math.cos(2 * turn) - 2 * math.cos(3 * turn) - math.cos(4 * turn)) / 15.5,
        )
        for turn in turns
    ]


_CROSS = ((-0.34, -1), (0.34, -1), (0.34, -0.34), (1, -0.34), (1, 0.34), (0.34, 0.34))
_POLYGONS: dict[str, Sequence[tuple[float, float]]] = {
    "square": ((-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)),
    "triangle": ((0, -1), (0.98, 0.8), (-0.98, 0.8)),
    "diamond": ((0, -1.08), (0.78, 0), (0, 1.08), (-0.78, 0)),
    "star": _star_points(),
    "heart": _heart_points(),
    "cross": (*_CROSS, *((-x, -y) for x, y in _CROSS)),
}
