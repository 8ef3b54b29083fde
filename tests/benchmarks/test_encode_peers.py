"""The encode stage beside clip-retrieval's inference on pictures, and beside a plain transformers loop on speech.

    python -m pytest tests/benchmarks/test_encode_peers.py -m benchmark -s        about three minutes; needs the index

clip-retrieval is installed into an environment of its own, without its dependencies: it runs on the torch and open_clip
of this one. Its own reader (a DataLoader with two workers), runner, mapper and writer run on the very model that the
stage runs, with random weights, in turns in one process; loading is not counted. clip-retrieval keeps one vector of a
picture in float16, the stage all its tokens too. `precision: auto` is how the stage would be used, and what it measures
once for a store is not counted. Processor time is of all processes; the least of two turns counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.test_encode import WHISPER_BASE
from tests.conftest import ROOT

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

# What its modules import that this environment lacks, found by trying.
NEEDED = (
    "clip-retrieval", "all-clip", "webdataset", "fire", "termcolor", "braceexpand", "flask-restful", "flask-cors",
    "aniso8601", "pytz", "prometheus-client", "sentence-transformers", "embedding-reader", "autofaiss", "faiss-cpu",
    "img2dataset", "exifread", "multilingual-clip", "ftfy", "h5py", "wandb", "platformdirs", "xxhash", "clip",
)  # fmt: skip

TURNS = """
import json, os, sys, tempfile, time
from pathlib import Path
import torch
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders import build_encoder
from multimodal.encoders.encode import encode_dataset
from multimodal.encoders.stage import settle_precision
from multimodal.sample import Modality
from tests.benchmarks.test_encode import clip, dataset_of
from tests.benchmarks.test_ingest import photograph
FOLDER, COUNT, BATCH = Path(tempfile.mkdtemp()), int(sys.argv[1]), int(sys.argv[2])
def cost(work):
    spent, started = os.times(), time.monotonic()
    work()
    after = os.times()
    return sum(after[:4]) - sum(spent[:4]), time.monotonic() - started
def turns(theirs, ours):
    for work in (theirs, ours):
        work(0)
    found = {"theirs": [], "ours": []}
    for turn in (1, 2):
        found["theirs"].append(cost(lambda: theirs(turn)))
        found["ours"].append(cost(lambda: ours(turn)))
    print(json.dumps({name: [min(each) for each in zip(*costs)] for name, costs in found.items()}))
"""
CLIP_RETRIEVAL = (
    TURNS
    + """
from clip_retrieval.clip_inference.mapper import ClipMapper
from clip_retrieval.clip_inference.reader import FilesReader
from clip_retrieval.clip_inference.runner import Runner
from clip_retrieval.clip_inference.writer import NumpyWriter
class Silent:
    def __init__(self, number): pass
    def start(self): pass
    def end(self): pass
    def __call__(self, stats): pass
if __name__ == "__main__":
    made = [photograph(number, 256) for number in range(COUNT)]
    files = FOLDER / "files"
    files.mkdir()
    for number, data in enumerate(made):
        (files / f"{number:05d}.jpg").write_bytes(data)
    dataset = dataset_of(FOLDER, Modality.IMAGE, made)
    options = EncoderOptions(kind="open_clip", model="ViT-B-32", batch_size=BATCH, precision="auto")
    encoder = build_encoder(options, Modality.IMAGE)
    settle_precision(encoder, options, FOLDER, lambda count: [encoder.preprocess(data) for data in made[:count]])
    mapper = ClipMapper.__new__(ClipMapper)
    mapper.enable_image, mapper.enable_text, mapper.enable_metadata, mapper.device = True, False, False, "cpu"
    mapper.model_img = encoder.model.encode_image
    transform = encoder._preprocess
    def theirs(turn):
        reader = lambda sampler: FilesReader(sampler, transform, None, str(files), BATCH, 2, enable_text=False)
        writer = lambda number: NumpyWriter(number, str(FOLDER / f"npy-{turn}"), False, True, False, 1)
        Runner(reader, lambda: mapper, writer, Silent, 1)(0)
    def ours(turn):
        info = encode_dataset(dataset, Modality.IMAGE, encoder, FOLDER / f"latents-{turn}", batch_size=BATCH)
        assert info.count == COUNT
        print(turn, info.precision, info.pace.line)
    turns(theirs, ours)
"""
)
TRANSFORMERS = (
    TURNS
    + """
import io
import numpy, soundfile
if __name__ == "__main__":
    made = [clip(number) for number in range(COUNT)]
    dataset = dataset_of(FOLDER, Modality.AUDIO, made)
    options = EncoderOptions(kind="whisper", model=sys.argv[3], batch_size=BATCH, precision="auto")
    encoder = build_encoder(options, Modality.AUDIO)
    settle_precision(encoder, options, FOLDER, lambda count: [encoder.preprocess(data) for data in made[:count]])
    model, extractor = encoder.tower.model, encoder.tower.extractor
    def theirs(turn):
        with torch.no_grad():
            for start in range(0, COUNT, BATCH):
                waves = [soundfile.read(io.BytesIO(data), dtype="float32")[0] for data in made[start : start + BATCH]]
                features = extractor(waves, sampling_rate=16_000, return_tensors="pt").input_features
                states = model(features).last_hidden_state
                numpy.save(FOLDER / f"{turn}-{start}.npy", states.half().numpy())
    def ours(turn):
        info = encode_dataset(dataset, Modality.AUDIO, encoder, FOLDER / f"latents-{turn}", batch_size=BATCH)
        assert info.count == COUNT
        print(turn, info.precision, info.pace.line)
    turns(theirs, ours)
"""
)


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment that has clip-retrieval, and all of this one."""
    folder = tmp_path_factory.mktemp("peers") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--python", python]
    subprocess.run([*install, *NEEDED], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return python


def compare(python: str, script: Path, text: str, *arguments: str) -> float:
    """Processor time of theirs over ours; prints both."""
    script.write_text(text)
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"}
    command = [python, str(script), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    shares = [their / our for their, our in zip(found["theirs"], found["ours"], strict=True)]
    rates = {name: [round(int(arguments[0]) / seconds, 1) for seconds in costs] for name, costs in found.items()}
    print(f"\n{done.stdout.splitlines()[-2]}")
    print(f"per second of processor and of clock: {rates}; ours over theirs {shares[0]:.2f} and {shares[1]:.2f}")
    return shares[0]


def test_clip_retrieval(peers: str, tmp_path: Path) -> None:
    """ViT-B-32 on the same pictures of 256 px."""
    assert compare(peers, tmp_path / "pictures.py", CLIP_RETRIEVAL, "160", "32") >= 1.5


def test_transformers_loop(tmp_path: Path) -> None:
    """A Whisper encoder of the base size on the same clips of three seconds."""
    (tmp_path / "whisper.json").write_text(json.dumps(WHISPER_BASE))
    arguments = ("24", "8", str(tmp_path / "whisper.json"))
    assert compare(sys.executable, tmp_path / "speech.py", TRANSFORMERS, *arguments) >= 1.5
