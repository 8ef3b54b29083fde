"""Memory and time of an ingest as rows grow: 1,000,000 manifest rows over 2,000 pictures, duplicates off and flagged.

    python -m pytest tests/benchmarks/test_scale.py -m benchmark -s        about ten minutes on two cores

Each ingest is a process of its own, whose resident memory is watched together with that of its decoders. The goals:
a peak below 1.5 GB, and a time per row that is the same at 100,000 and at 1,000,000 rows within 20 %. Time is of the
processor, all processes together; what 2,000 rows cost, nearly all of it decoding, is taken off both.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from multimodal.ingest.options import IngestOptions
from tests.benchmarks.test_incremental import picture
from tests.benchmarks.watched import watched

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

FILES, FEW, MANY = 2_000, 100_000, 1_000_000
PEAK_GB = 1.5
GROWTH = 1.2
WORDS = ["".join(letters) for letters in np.random.default_rng(0).choice(list("abcdefghijklmnoprstuvw"), (5000, 6))]

RUN = """
import os, sys
from pathlib import Path
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
info = ingest(IngestOptions.model_validate_json(sys.argv[1]), seed=0, workspace=Path(sys.argv[2]))
print(info.counts.kept, sum(os.times()[:4]))
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the files and of a manifest of `MANY` rows, each with a caption of its own of twelve words."""
    folder = tmp_path_factory.mktemp("scale")
    for number in range(FILES):
        (folder / f"{number:04d}.jpg").write_bytes(picture(number))
    rng = np.random.default_rng(1)
    with (folder / "m.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "text"])
        for number, chosen in enumerate(rng.integers(0, len(WORDS), (MANY, 12))):
            writer.writerow([f"{number % FILES:04d}.jpg", " ".join([WORDS[word] for word in chosen])])
    return folder


def measure(corpus: Path, rows: int, handling: str, workspace: Path) -> tuple[float, float]:
    """Processor seconds, and the peak of the summed resident memory in GB."""
    source = {"name": "s", "path": corpus / "m.csv", "task": "caption", "limit": rows}
    kinds = dict.fromkeys(("pictures", "sounds", "texts"), handling)
    options = IngestOptions.model_validate({"sources": [source], "duplicates": kinds})
    command = [sys.executable, "-c", RUN, options.model_dump_json(), str(workspace)]
    cost = watched(command)
    kept, seconds = cost.output.split()
    assert int(kept) == rows
    return float(seconds), cost.gigabytes


@pytest.mark.parametrize("handling", ["off", "flag"])
def test_a_million_rows(corpus: Path, tmp_path: Path, handling: str) -> None:
    """Time per row stays, and memory is bounded."""
    start, _ = measure(corpus, FILES, handling, tmp_path / "start")
    few, few_gb = measure(corpus, FEW, handling, tmp_path / "few")
    many, many_gb = measure(corpus, MANY, handling, tmp_path / "many")
    each_few, each_many = (few - start) / (FEW - FILES), (many - start) / (MANY - FILES)
    print(f"\nduplicates {handling}: {FEW:,} rows {1e6 * each_few:.0f} us a row, {few_gb:.2f} GB; ", end="")
    print(f"{MANY:,} rows {1e6 * each_many:.0f} us a row ({each_many / each_few:.2f} times), {many_gb:.2f} GB")
    assert many_gb < PEAK_GB
    assert each_many <= GROWTH * each_few
