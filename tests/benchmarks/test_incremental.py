"""What a second ingest costs: nothing changed, and one file among 100,000 changed.

    python -m pytest tests/benchmarks/test_incremental.py -m benchmark -s

Times are of the processor, all processes together, as shares of the first ingest. The goals are 3 % and 4 %. Nothing
changed: every file is looked at by its stat, and none is read. One file changed: nothing else is decoded, but the new
dataset holds all media, so that all files are read and written once more; that misses its goal.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multimodal.ingest import ingest, memory
from multimodal.ingest.options import IngestOptions
from tests.benchmarks.test_ingest import seconds_of

pytestmark = pytest.mark.benchmark

ROWS = 100_000
UNCHANGED_GOAL = 0.03


def picture(number: int) -> bytes:
    """A JPEG of 160 px of large blocks, which is quickly made."""
    rng = np.random.default_rng(number)
    pixels = np.kron(rng.integers(0, 256, (10, 10, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def test_second_ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged corpus is known by its stats; a changed file costs its own decoding and a new dataset."""
    monkeypatch.setattr(memory, "RACY_NS", -(10**12))  # the files were written a moment ago
    folder = tmp_path / "files"
    folder.mkdir()
    names = [f"{number:06d}.jpg" for number in range(ROWS)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(picture(number))
    with (tmp_path / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "text"], *[[f"files/{name}", f"text {name}"] for name in names]])
    source = {"name": "s", "path": tmp_path / "m.csv", "task": "caption"}
    options = IngestOptions.model_validate({"sources": [source]})

    def whole() -> float:
        return seconds_of(lambda: ingest(options, seed=0, workspace=tmp_path / "w"))

    first, unchanged = whole(), whole()
    (folder / names[7]).write_bytes(picture(ROWS))
    changed = whole()
    print(f"\n{ROWS:,} rows: first {first:.1f} s ({1e3 * first / ROWS:.2f} ms a row), ", end="")
    print(f"unchanged {unchanged:.2f} s ({unchanged / first:.1%}), one changed {changed:.1f} s ({changed / first:.1%})")
    assert unchanged / first <= UNCHANGED_GOAL
    assert changed < first
