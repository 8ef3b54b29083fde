"""The same local pictures by img2dataset, Hugging Face `datasets` and this ingest; what each does with bad ones.

    python -m pytest tests/benchmarks/test_ingest_peers.py -m benchmark -s        about three minutes; needs the index

The peers are installed into an environment of their own (img2dataset's dependencies do not agree with ours). Each
program is a process with two workers; it decodes every picture fully, hashes its bytes (`datasets` does not) and writes
pictures and captions to Parquet; img2dataset reads `file://` URLs and is spared its JPEG encoder. Times are wall clock
from start to exit; programs take turns, and the least of two turns counts. The time of a few pictures, which is all
start, is shown apart and not taken off.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from multimodal.dataset import read_ledger
from multimodal.ingest.options import IngestOptions
from tests.benchmarks.test_ingest import photograph
from tests.hostile.pictures import KEPT, pictures

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

PICTURES, FEW, SIDE, DISTINCT = 6_000, 20, 256, 64

IMG2DATASET = """
import sys
from img2dataset import download
if __name__ == "__main__":
    download(url_list=sys.argv[1] + "/urls.csv", input_format="csv", url_col="url", caption_col="caption",
             output_folder=sys.argv[2], output_format="parquet", processes_count=2, thread_count=8, resize_mode="no",
             skip_reencode=True, compute_hash="sha256", number_sample_per_shard=1000, enable_wandb=False)
"""
DATASETS = """
import sys
from datasets import load_dataset
def look(row):
    row["image"].load()
    return {"width": row["image"].width, "height": row["image"].height}
if __name__ == "__main__":
    _, corpus, out = sys.argv
    found = load_dataset("imagefolder", data_dir=corpus + "/files", split="train", cache_dir=out + "/cache")
    found.map(look, num_proc=2).to_parquet(out + "/out.parquet")
    print(len(found))
"""
OURS = """
import sys
from pathlib import Path
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
print(ingest(IngestOptions.model_validate_json(sys.argv[1]), seed=0, workspace=Path(sys.argv[2])).counts)
"""


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment with the newest img2dataset and datasets."""
    folder = tmp_path_factory.mktemp("peers") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
    subprocess.run([*install, "img2dataset", "datasets", "pillow"], check=True)
    return python


def make_corpus(folder: Path, files: dict[str, bytes]) -> Path:
    """The pictures, a manifest of ours (which is `datasets`' metadata too) and img2dataset's list of URLs."""
    (folder / "files").mkdir(parents=True)
    for name, data in files.items():
        (folder / "files" / name).write_bytes(data)
    for path, head, root in (("files/metadata.csv", ["file_name", "text"], ""), ("urls.csv", ["url", "caption"], None)):
        prefix = f"file://{folder / 'files'}/" if root is None else root
        with (folder / path).open("w", newline="") as file:
            csv.writer(file).writerows([head, *[[prefix + name, f"a caption of {name}"] for name in files]])
    return folder


def good(count: int) -> dict[str, bytes]:
    """Photographs; bytes behind the end mark make each a content of its own."""
    drawn = [photograph(number, SIDE) for number in range(DISTINCT)]
    return {f"{number:05d}.jpg": drawn[number % DISTINCT] + f"{number:08d}".encode() for number in range(count)}


def run(name: str, peers: str, corpus: Path, out: Path) -> tuple[float, subprocess.CompletedProcess[str]]:
    """One program on a corpus: wall seconds, and how it ended."""
    out.mkdir(parents=True)
    if name == "ours":
        source = {"name": "s", "path": str(corpus / "files" / "metadata.csv"), "task": "caption"}
        columns = {"columns": {"path": "file_name"}}
        # Equal checks: contents by their bytes, as the other two have them.
        by_bytes = {"same_decoded": False}
        values = {"sources": [source | columns], "sandbox": {"workers": 2}, "duplicates": by_bytes}
        options = IngestOptions.model_validate(values)
        command = [sys.executable, "-c", OURS, options.model_dump_json(), str(out)]
    else:
        code = corpus / f"use_{name}.py"  # a file: its workers import it
        code.write_text({"img2dataset": IMG2DATASET, "datasets": DATASETS}[name])
        command = [peers, str(code), str(corpus), str(out)]
    start = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    return time.monotonic() - start, ended


def test_the_same_pictures(peers: str, tmp_path: Path) -> None:
    """This ingest is the fastest of the three."""
    few, many = make_corpus(tmp_path / "few", good(FEW)), make_corpus(tmp_path / "many", good(PICTURES))
    names = ("ours", "img2dataset", "datasets")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    start: dict[str, float] = {}
    for turn in range(2):
        for name in names:
            for size, corpus in (("few", few), ("many", many)):
                took, ended = run(name, peers, corpus, tmp_path / f"{name}-{size}-{turn}")
                assert ended.returncode == 0, ended.stderr
                if size == "few":
                    start[name] = min(took, start.get(name, took))
                else:
                    seconds[name].append(took)
    best = {name: min(each) for name, each in seconds.items()}
    print()
    for name in names:
        print(
            f"{PICTURES:,} pictures of {SIDE} px, {name}: {best[name]:.1f} s ({FEW} of them {start[name]:.1f} s), ",
            end="",
        )
        print(f"{PICTURES / best[name]:,.0f}/s, {best[name] / best['ours']:.2f} times ours")
    assert best["ours"] < min(best["img2dataset"], best["datasets"])


def test_bad_files(peers: str, tmp_path: Path) -> None:
    """Each program on twenty good pictures and all hostile ones; ours alone names what is wrong with each."""
    hostile = pictures()
    bad = {name for name, (_, reason) in hostile.items() if reason != KEPT}
    files = good(FEW) | {f"{name}.jpg": data for name, (data, _) in hostile.items()}
    corpus = make_corpus(tmp_path / "corpus", files)
    print(f"\n{len(files)} pictures, {len(bad)} of them bad:")
    ended = {name: run(name, peers, corpus, tmp_path / name)[1] for name in ("ours", "img2dataset", "datasets")}
    rows = read_ledger(next((tmp_path / "ours" / "ledger").iterdir()))
    print("ours:", dict(Counter(row.reason or row.fate.value for row in rows)))
    stats = [json.loads(path.read_text()) for path in sorted((tmp_path / "img2dataset").glob("*_stats.json"))]
    statuses = Counter[str]()
    for each in stats:
        for status, count in each["status_dict"].items():
            statuses[status[:60]] += count  # OpenCV's messages are long, and differ behind that
    print("img2dataset:", f"exit {ended['img2dataset'].returncode},", dict(statuses))
    last = (ended["datasets"].stderr.strip().splitlines() or [""])[-1]
    print("datasets:", f"exit {ended['datasets'].returncode}, {last[:150]}")
    assert len(rows) == len(files)
    refused = {list(files)[number].removesuffix(".jpg") for number, row in enumerate(rows) if row.reason}
    assert refused <= bad
    print("ours kept, of the bad ones:", sorted(bad - refused), "(beyond limits that the hostile tests set lower)")
