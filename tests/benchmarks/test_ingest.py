"""What safe decoding costs: a whole ingest against the barest loop that decodes and hashes the same files.

    python -m pytest tests/benchmarks/test_ingest.py -m benchmark -s        about two minutes

The share per core is of the processor's time, all processes together: on a busy machine it stays about what it is. The
share in total is of wall clock, with two decoders, and wants two idle cores. What the worker processes need to start is
shown by itself and taken off: it is paid once, however long the ingest. The goals are 0.7 and 1.3. A picture of 160 px
is decoded about as fast as its row is read, measured, hashed, written and entered in the ledger, and stays below both;
the floors are what was measured, less the noise of a busy machine.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions

pytestmark = pytest.mark.benchmark


def photograph(number: int, side: int) -> bytes:
    """A JPEG of smooth shapes and noise, about as many bytes as a camera's."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
    pixels = np.asarray(coarse) + rng.normal(0, 8, (side, side, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def utterance(number: int) -> bytes:
    """Three seconds of 16 kHz sound in Ogg Vorbis, as speech corpora ship it."""
    rng = np.random.default_rng(number)
    times = np.arange(48_000) / 16_000
    wave = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 300) * times) + 0.02 * rng.standard_normal(48_000)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.astype(np.float32), 16_000, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


def decode_picture(data: bytes) -> None:
    Image.open(io.BytesIO(data)).load()


def decode_sound(data: bytes) -> None:
    soundfile.read(io.BytesIO(data), dtype="float32")


def seconds_of(work: Callable[[], object]) -> float:
    """Processor time of this process and of all its children that have ended."""
    before = os.times()
    work()
    return sum(os.times()[:4]) - sum(before[:4])


def wall_of(work: Callable[[], object]) -> float:
    """Seconds on the clock."""
    before = time.monotonic()
    work()
    return time.monotonic() - before


@pytest.mark.parametrize(
    ("task", "count", "make", "decode", "floor"),
    [
        ("caption", 6000, lambda number: photograph(number, 160), decode_picture, 0.25),
        ("caption", 300, lambda number: photograph(number, 1024), decode_picture, 0.55),
        ("transcribe", 1500, utterance, decode_sound, 0.55),
    ],
    ids=["pictures of 160 px", "pictures of 1024 px", "speech"],
)
def test_throughput(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    task: str,
    count: int,
    make: Callable[[int], bytes],
    decode: Callable[[bytes], None],
    floor: float,
) -> None:
    """The ingest, from reading the manifest to the finished dataset, reaches its share of decode-and-hash."""
    paths = [tmp_path / f"{number:05d}" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(make(number))
    with (tmp_path / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "text"], *[[path.name, f"text {path.name}"] for path in paths]])

    def bare() -> None:
        for path in paths:
            data = path.read_bytes()
            decode(data)
            hashlib.sha256(data).hexdigest()

    def whole(limit: int, name: str, workers: int = 1) -> None:
        source = {"name": "s", "path": tmp_path / "m.csv", "task": task, "limit": limit}
        options = IngestOptions.model_validate({"sources": [source], "sandbox": {"workers": workers}})
        ingest(options, seed=0, workspace=tmp_path / name)

    whole(1, "imports")
    start = seconds_of(lambda: whole(1, "start"))
    before, fully = seconds_of(bare), seconds_of(lambda: whole(count, "one")) - start
    barely = (before + seconds_of(bare)) / 2  # the machine may have become faster or slower meanwhile
    waited = wall_of(lambda: whole(count, "two", 2)) - wall_of(lambda: whole(1, "start of two", 2))
    name = request.node.callspec.id
    print(f"\n{name}: decode and hash {count / barely:,.0f}/s, whole ingest {count / fully:,.0f}/s, ", end="")
    print(
        f"{barely / fully:.2f} per core; two decoders {count / waited:,.0f}/s, {barely / waited:.2f} in total ", end=""
    )
    print(f"(start {start:.2f} s)")
    assert barely / fully >= floor
