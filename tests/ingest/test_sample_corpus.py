from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from multimodal.dataset import Dataset, Fate, read_ledger
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
from multimodal.sample import Task

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
TASKS = {"scenes": "caption", "speech": "transcribe", "denoise": "denoise", "restyle": "restyle", "infill": "infill"}


@pytest.fixture
def ends(tmp_path):
    """Options of all manifests of the sample corpus, each cut to its first and last rows: there the bad ones are."""
    sources = []
    for name, task in TASKS.items():
        header, *rows = (SAMPLE / f"{name}.tsv").read_text().splitlines(keepends=True)
        path = tmp_path / f"{name}.tsv"
        path.write_text("".join([header, *rows[:20], *rows[-20:]]))
        sources.append({"name": name, "path": path, "task": task, "media_root": SAMPLE})
    return IngestOptions.model_validate({"sources": sources})


def test_the_bad_rows_of_the_sample_corpus_get_their_reasons(ends, tmp_path):
    """A cut picture, a lying WAV, text under media names, empty texts, and duplicates: all found, nothing else."""
    info = ingest(ends, seed=0, workspace=tmp_path / "w")
    ledger = read_ledger(info.ledger)
    assert info.counts.rows == 200
    assert Counter((row.source, row.reason) for row in ledger if row.fate is Fate.QUARANTINED) == {
        ("scenes", "truncated_image"): 1,
        ("scenes", "wrong_format"): 1,
        ("scenes", "empty_text"): 1,
        ("speech", "truncated_audio"): 1,
        ("speech", "wrong_format"): 1,
        ("denoise", "empty_text"): 1,
    }
    assert Counter(row.source for row in ledger if row.fate is Fate.DUPLICATE) == {"scenes": 1, "denoise": 1}


def test_the_sample_corpus_serves_all_tasks(ends, tmp_path):
    """Every task has kept samples, and every restyle sample names its style."""
    dataset = Dataset(ingest(ends, seed=0, workspace=tmp_path / "w").path)
    assert set(dataset.info.by_task) == set(TASKS.values())
    assert all(sample.style for sample in dataset.samples(task=Task.RESTYLE))
