"""Media that can be coded anew, and ingests of small manifests of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from multimodal.dataset import DatasetInfo
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions


@pytest.fixture
def photograph() -> Callable[..., bytes]:
    """`photograph(seed, kind="PNG", side=96, **save)`: bytes of a picture of smooth shapes."""

    def draw(seed: int, kind: str = "PNG", side: int = 96, **save: object) -> bytes:
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC).resize((side, side))
        buffer = io.BytesIO()
        picture.save(buffer, kind, **save)
        return buffer.getvalue()

    return draw


@pytest.fixture
def clip() -> Callable[..., bytes]:
    """`clip(seed, kind="WAV", gain=1.0, shift_seconds=0.0)`: a second of tones that come and go, 16 kHz."""

    def play(seed: int, kind: str = "WAV", gain: float = 1.0, shift_seconds: float = 0.0) -> bytes:
        rng = np.random.default_rng(seed)
        times = np.arange(1600) / 16_000
        tones = [sum(np.sin(2 * np.pi * hertz * times) for hertz in rng.uniform(200, 3000, 3)) for _ in range(10)]
        wave = np.concatenate([np.zeros(round(16_000 * shift_seconds)), 0.2 * gain * np.concatenate(tones)])
        buffer = io.BytesIO()
        soundfile.write(buffer, wave.astype(np.float32), 16_000, format=kind)
        return buffer.getvalue()

    return play


@pytest.fixture
def run(tmp_path: Path, manifest: Callable[..., Path]) -> Callable[..., DatasetInfo]:
    """`run(task, rows, media={}, **options)`: ingest a manifest of rows, the first one its header."""

    def do(task: str, rows: Sequence[Sequence[str]], media: dict[str, bytes] | None = None, **options: object):
        for name, data in (media or {}).items():
            (tmp_path / name).write_bytes(data)
        source = {"name": "s", "path": manifest("m.csv", rows), "task": task}
        given = IngestOptions(sources=[source], sandbox={"workers": 1}, **options)
        return ingest(given, seed=0, workspace=tmp_path / "w")

    return do
