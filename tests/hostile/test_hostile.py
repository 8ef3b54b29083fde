"""Every kind of hostile file goes through one real ingest: each ends in the ledger, none stops the run."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multimodal.dataset import Dataset, DatasetInfo, Fate, read_ledger
from multimodal.ingest.options import IngestOptions
from tests.hostile.archives import make_captions, make_shards, make_tables
from tests.hostile.odd_files import make_odd_files
from tests.hostile.pictures import pictures
from tests.hostile.sounds import sounds
from tests.hostile.texts import texts

ROOT = Path(__file__).parents[2]
CAP_MIB = 64
BASE_MIB = 100
"""What a worker needs before its first file, libraries and all."""
READER_BASE_MIB = 140
"""What the process that reads needs, pyarrow among it."""

INGEST = """
import resource, sys
from pathlib import Path
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
info = ingest(IngestOptions.model_validate_json(sys.argv[1]), seed=0, workspace=Path(sys.argv[2]))
own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(info.path, int(own.split()[1]) // 1024, children // 1024, flush=True)
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """(source, name of the case) -> the reason that its row must have; the corpus lies at `folder`."""
    folder = tmp_path_factory.mktemp("hostile")
    cases = {}
    for source, made in (("pictures", pictures()), ("sounds", sounds())):
        rows = [(name, reason) for name, (_, reason) in made.items()]
        for name, (data, _) in made.items():
            (folder / name).write_bytes(data)
        rows = [(name, name, reason) for name, reason in rows]
        if source == "pictures":
            rows += [(name, path, reason) for name, (path, reason) in make_odd_files(folder).items()]
        with (folder / f"{source}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["path", "text"], *[[path, f"text of {name}"] for name, path, _ in rows]])
        cases |= {(source, name): reason for name, _, reason in rows}
    (folder / "texts.jsonl").write_bytes(b"\n".join(line for line, _ in texts().values()))
    cases |= {("texts", name): reason for name, (_, reason) in texts().items()}
    for source, make in (("shards", make_shards), ("tables", make_tables), ("captions.json", make_captions)):
        cases |= {(source, name): reason for name, reason in make(folder / source).items()}
    return folder, cases


@pytest.fixture(scope="module")
def outcome(expected, tmp_path_factory):
    """The ledger's rows by case, the peak memory of reader and workers in MiB, and the seconds that all took."""
    folder, cases = expected
    tasks = {"pictures.csv": "caption", "sounds.csv": "transcribe", "texts.jsonl": "infill"}
    tasks |= dict.fromkeys(("shards", "tables", "captions.json"), "caption")
    sources = [{"name": name.split(".")[0], "path": folder / name, "task": task} for name, task in tasks.items()]
    limits = {"max_frames": 100, "max_clip_seconds": 2.5}
    sandbox = {"memory_mib": CAP_MIB, "timeout_seconds": 5, "workers": 1}
    options = IngestOptions(sources=sources, checks=limits, sandbox=sandbox)
    command = [sys.executable, "-c", INGEST, options.model_dump_json(), str(tmp_path_factory.mktemp("w"))]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    path, *peaks = done.stdout.split()
    info = Dataset(Path(path)).info
    return (
        info,
        dict(zip(cases, read_ledger(info.ledger), strict=True)),
        [int(peak) for peak in peaks],
        time.monotonic() - started,
    )


def test_the_corpus_is_large(expected):
    """At least 60 kinds, of every modality, and most of them bad."""
    cases = expected[1]
    assert len(cases) >= 150
    assert sum(reason != "" for reason in cases.values()) > 135
    assert len(set(cases.values())) >= 22
    kinds = {"bomb", "2-gb", "cut", "nan", "no-frames", "and-zip", "absolute", "parent", "symlink", "device", "pickle"}
    kinds |= {"dictionary", "utf8", "nested", "pipe", "fifo", "lies", "html", "surrogate"}
    assert not [kind for kind in kinds if not any(kind in name for _, name in cases)]


def test_each_kind_has_its_reason(expected, outcome):
    """What the ledger says of each case is what is wrong with it; good files that look odd are kept."""
    ledger = outcome[1]
    found = {case: row.reason for case, row in ledger.items()}
    wrong = {case: (found[case], ledger[case].detail) for case, reason in expected[1].items() if found[case] != reason}
    assert wrong == {}
    assert all(row.detail for row in ledger.values() if row.fate is Fate.QUARANTINED)


def test_the_run_went_on_to_its_end(expected, outcome):
    """The ledger balances, and every row is in it."""
    info: DatasetInfo = outcome[0]
    assert info.counts.rows == len(expected[1])
    assert info.counts.kept == sum(reason == "" for reason in expected[1].values())


def test_memory_stayed_under_the_cap(outcome):
    """No worker had more than its cap beyond what it needs to start, nor the process that reads the sources."""
    reader, worker = outcome[2]
    assert worker < BASE_MIB + CAP_MIB
    assert reader < READER_BASE_MIB + CAP_MIB


def test_no_pickle_was_opened(outcome, expected):
    """Opening one leaves a file in the working directory."""
    assert not (ROOT / "pickle-was-opened").exists()


def test_none_held_the_run_up(outcome):
    """All together took seconds."""
    assert outcome[3] < 120


def test_the_ledger_can_be_read_by_anything(outcome):
    """No surrogate and no NUL got through to what people see."""
    for row in outcome[1].values():
        assert json.dumps([row.uri, row.detail], ensure_ascii=False).encode()
