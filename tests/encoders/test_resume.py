"""An encode that is killed at any moment goes on, and ends with the same bytes as one that was not."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multimodal.encoders.encode import encode_dataset
from multimodal.fingerprint import read_index
from multimodal.latents import LatentStore
from multimodal.sample import Modality
from tests.encoders.length_encoder import LengthEncoder, write_dataset

ROOT = Path(__file__).parents[2]
SHARD = 20
TEXTS = [f"text {'x' * (number % 17)} {number}" for number in range(400)]

ENCODE = """
import sys, time
from pathlib import Path
from multimodal.dataset import Dataset
from multimodal.encoders.encode import encode_dataset
from multimodal.latents.writer import LatentWriter
from multimodal.sample import Modality
from tests.encoders.length_encoder import LengthEncoder
folder = Path(sys.argv[1])
class Slow(LengthEncoder):
    def encode(self, batch):
        time.sleep(0.01)
        return super().encode(batch)
write_shard = LatentWriter.add_shard
def slowly(self, shard):
    time.sleep(0.01)
    write_shard(self, shard)
LatentWriter.add_shard = slowly
log = (folder / "done.txt").open("a", buffering=1)
def note(done, total):
    log.write("x" * (done - note.before) + "\\n")
    note.before = done
note.before = 0
print("ready", flush=True)
encode_dataset(
    Dataset(folder / "dataset/fp"), Modality.TEXT, Slow(), folder / "l", note, batch_size=5, contents_per_shard=20
)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_random_moments(tmp_path):
    """Again and again: at most one finished shard is lost beside the one begun, and the files are the same."""
    dataset = write_dataset(tmp_path, TEXTS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    rng, kills, log = random.Random(5), 0, tmp_path / "done.txt"
    while True:
        before = _stored(tmp_path / "l")
        log.write_text("")
        with subprocess.Popen(
            [sys.executable, "-c", ENCODE, str(tmp_path)], cwd=ROOT, env=environment, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            wanted = rng.randint(0, 6 * SHARD)
            while process.poll() is None and log.read_text().count("x") < wanted:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.02))
            process.kill()
            code = process.wait()
        kept, encoded = _stored(tmp_path / "l") - before, log.read_text().count("x")
        if code == 0:
            break
        kills += 1
        assert kept <= encoded < kept + 2 * SHARD
        assert kills < 60
    assert kills >= 3
    encode_dataset(dataset, Modality.TEXT, LengthEncoder(), tmp_path / "whole", batch_size=5, contents_per_shard=SHARD)
    digests = [sorted(shard["digest"] for shard in read_index(tmp_path / name)["shards"]) for name in ("l", "whole")]
    assert digests[0] == digests[1] and _stored(tmp_path / "l") == len(TEXTS)


def _stored(folder: Path) -> int:
    return len(LatentStore(folder)) if read_index(folder) else 0
