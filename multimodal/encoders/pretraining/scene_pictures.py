"""Endless scenes as training pictures, and the linear probe that says what a tower's positions know of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from multimodal.encoders.base import Encoder
from multimodal.encoders.pretraining.image import PictureBatch
from multimodal.synthetic.descriptions import describe_scene
from multimodal.synthetic.scenes import (
    COLOURS,
    GRID,
    HELD_OUT_PAIRS,
    SHAPES,
    SIZES,
    Scene,
    SceneObject,
    draw_scene,
    random_scene,
)

STYLES = (None, None, "formal", "informal")


class ScenePictures:
    """Fresh scenes in pairs that differ in one thing, so that a caption has to be read to its end.

    Args:
        side: positions along each side of the tower's map; a multiple of the grid's.
        mean, std: of the model's normalisation, the same for all channels.
        seed: with the step, all that a batch depends on.
    """

    def __init__(self, side: int, mean: float, std: float, seed: int) -> None:
        self.side, self.mean, self.std, self.seed = side, mean, std, seed
        self._cells = cell_weights(side)

    def batch(self, step: int, size: int) -> PictureBatch:
        """`size` pictures, half of them siblings of the other half."""
        rng = random.Random(f"{self.seed}/{step}")
        scenes: list[Scene] = []
        while len(scenes) < size:
            scene = random_scene(rng)
            scenes += [scene, sibling(scene, rng)]
        pixels = torch.from_numpy(np.stack([np.asarray(draw_scene(scene)) for scene in scenes]))
        regions, phrases = self._regions(scenes, rng)
        return PictureBatch(
            pixels=(pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std,
            captions=tuple(describe_scene(scene, rng, rng.choice(STYLES)) for scene in scenes),
            regions=regions,
            phrases=phrases,
        )

    def _regions(self, scenes: Sequence[Scene], rng: random.Random) -> tuple[Tensor, tuple[str, ...]]:
        """All cells with an object, and one empty cell of each scene."""
        rows, phrases = [], []
        for number, scene in enumerate(scenes):
            shown = {thing.cell: f"a {thing.size} {thing.colour} {thing.shape}" for thing in scene.objects}
            empty = [(row, column) for row in range(GRID) for column in range(GRID) if (row, column) not in shown]
            shown[rng.choice(empty)] = f"empty {scene.background}"
            for (row, column), phrase in shown.items():
                weights = torch.zeros(len(scenes), self.side**2)
                weights[number] = self._cells[row * GRID + column]
                rows.append(weights.flatten())
                phrases.append(phrase)
        return torch.stack(rows), tuple(phrases)


def cell_weights(side: int) -> Tensor:
    """float32 [cells, positions]: the mean over the positions of each grid cell of a map of side x side."""
    place = torch.arange(side) * GRID // side
    cell = (place[:, None] * GRID + place[None]).flatten()
    weights = (cell[None] == torch.arange(GRID**2)[:, None]).float()
    return weights / weights.sum(1, keepdim=True)


def sibling(scene: Scene, rng: random.Random) -> Scene:
    """The scene with one object changed in colour, shape, size or place."""
    while True:
        index = rng.randrange(len(scene.objects))
        thing = scene.objects[index]
        changed = _changed(thing, rng)
        others = [each for number, each in enumerate(scene.objects) if number != index]
        clash = any(each.pair == changed.pair or each.cell == changed.cell for each in others)
        if changed != thing and not clash and changed.pair not in HELD_OUT_PAIRS:
            return replace(scene, objects=(*scene.objects[:index], changed, *scene.objects[index + 1 :]))


def _changed(thing: SceneObject, rng: random.Random) -> SceneObject:
    match rng.randrange(4):
        case 0:
            return replace(thing, colour=rng.choice(tuple(COLOURS)))
        case 1:
            return replace(thing, shape=rng.choice(SHAPES))
        case 2:
            size = "large" if thing.size == "small" else "small"
            return replace(thing, size=size, radius=SIZES[size][0], dx=0, dy=0)
        case _:
            return replace(thing, row=rng.randrange(GRID), column=rng.randrange(GRID))


@dataclass(frozen=True, slots=True)
class SceneProbe:
    """Accuracy of linear classifiers on frozen positions, over unseen scenes: 0 to 1.

    Args:
        shape, colour, size: of objects, given their cell.
        place: whether a cell shows an object, over all cells.
        background: of the scene, from an empty cell.
    """

    shape: float
    colour: float
    size: float
    place: float
    background: float


def probe_scenes(encoder: Encoder, train: int = 1500, test: int = 500, seed: int = 1) -> SceneProbe:
    """Fit linear classifiers on the positions of each grid cell, and score them on other scenes.

    A cell's features are its positions' states side by side; classifiers are logistic regressions.
    """
    import io

    rng = random.Random(seed)
    scenes = [random_scene(rng) for _ in range(train + test)]
    features = []
    for start in range(0, len(scenes), 100):
        pictures = []
        for scene in scenes[start : start + 100]:
            buffer = io.BytesIO()
            draw_scene(scene).save(buffer, "PNG")
            pictures.append(encoder.preprocess(buffer.getvalue()))
        features.append(encoder.encode(pictures).hidden_states)
    states = torch.cat(features)
    side = round(states.shape[1] ** 0.5)
    cells = cell_weights(side) > 0
    by_cell = torch.stack([states[:, cell].flatten(1) for cell in cells], 1).numpy()  # [scenes, cells, features]
    labels: dict[str, list[tuple[np.ndarray, str, bool]]] = {name: [] for name in SceneProbe.__slots__}
    for number, scene in enumerate(scenes):
        held = number >= train
        shown = {thing.row * GRID + thing.column: thing for thing in scene.objects}
        for cell in range(GRID**2):
            vector = by_cell[number, cell]
            labels["place"].append((vector, str(cell in shown), held))
            if cell in shown:
                for name in ("shape", "colour", "size"):
                    labels[name].append((vector, getattr(shown[cell], name), held))
            elif cell == min(set(range(GRID**2)) - shown.keys()):
                labels["background"].append((vector, scene.background, held))
    return SceneProbe(**{name: _linear_accuracy(rows) for name, rows in labels.items()})


def _linear_accuracy(rows: Sequence[tuple[np.ndarray, str, bool]]) -> float:
    x = np.stack([vector for vector, _, _ in rows])
    y = np.array([label for _, label, _ in rows])
    held = np.array([is_held for _, _, is_held in rows])
    mean, std = x[~held].mean(0), x[~held].std(0) + 1e-6
    model = LogisticRegression(max_iter=300, C=0.1).fit((x[~held] - mean) / std, y[~held])
    return float(model.score((x[held] - mean) / std, y[held]))
