"""A tiny workspace as the stages leave one: a real ingest, latents, one evaluation, one registered version."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from PIL import Image

from multimodal.dataset import Dataset
from multimodal.evaluation.predictions import SCHEMA
from multimodal.fingerprint import file_digests, fingerprint, read_index, write_index, write_json
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
from multimodal.latents import LatentWriter
from multimodal.sample import Modality, Split, Task

ENCODER = "0123456789abcdef"
HIDDEN, TOKENS = 8, 3


@dataclass(frozen=True)
class Made:
    """Where the workspace is, and the configuration that it was made with."""

    root: Path

    @property
    def workspace(self):
        return self.root / "workspace"

    @property
    def dataset(self):
        return Dataset(next((self.workspace / "dataset").iterdir()))

    @property
    def conf(self):
        return self.root / "tiny.yaml"

    def sample(self, text):
        return next(sample for sample in self.dataset.samples() if sample.text == text)


def noise(seed, size=(48, 32), kind="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def hum(seed):
    buffer = io.BytesIO()
    wave = np.random.default_rng(seed).uniform(-0.5, 0.5, 8000).astype(np.float32)
    soundfile.write(buffer, wave, 8000, format="WAV")
    return buffer.getvalue()


def make_sources(root):
    """Three sources: pictures with given splits, sounds, noisy texts; eight rows are refused, one is a duplicate."""
    (root / "media").mkdir(parents=True)
    files = {"a.png": noise(1), "b.png": noise(2), "c.png": noise(3), "cut.jpg": noise(4, (96, 96), "JPEG")[:2500]}
    files |= {
        "tiny.png": noise(5, (4, 4)),
        "text.png": b"this is no picture",
        "a.wav": hum(1),
        "lie.wav": hum(2)[:9000],
    }
    for name, data in files.items():
        (root / "media" / name).write_bytes(data)
    pictures = [["a.png", "one", "train"], ["a.png", "two", "train"], ["b.png", "three", "test"]]
    pictures += [["c.png", "four", "val"], ["a.png", " one ", "train"], ["cut.jpg", "five", "train"]]
    pictures += [[name, "six", "train"] for name in ("tiny.png", "text.png", "no.png")] + [["b.png", "", "test"]]
    sounds = [["a.wav", "hello"], ["lie.wav", "bye"]]
    texts = [[f"nosy {number}", f"noisy {number}"] for number in range(20)] + [["", "empty"]]
    write_csv(root / "media" / "pictures.csv", [["path", "text", "split"], *pictures])
    write_csv(root / "media" / "sounds.csv", [["path", "text"], *sounds])
    write_csv(root / "media" / "texts.csv", [["input", "text"], *texts])


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def options_of(root):
    tasks = {"pictures": "caption", "sounds": "transcribe", "texts": "denoise"}
    sources = [
        {"name": name, "path": str(root / "media" / f"{name}.csv"), "task": task} for name, task in tasks.items()
    ]
    return IngestOptions.model_validate({"sources": sources, "sandbox": {"workers": 1}})


def write_latents(made):
    """Latents of all pictures but one, which the encoder could not decode."""
    first, *others = made.dataset.content_ids(Modality.IMAGE)
    with LatentWriter(made.workspace / "latents" / ENCODER, ENCODER, HIDDEN) as writer:
        for content_id in others:
            writer.add(content_id, np.ones((TOKENS, HIDDEN)), np.ones(4))
        writer.fail(first, "odd pixels")


def write_report(made):
    """An evaluation of one picture's caption, and the version that was registered from it."""
    sample, parts = made.sample("three"), {"dataset": made.dataset.path.name}
    folder = made.workspace / "reports" / fingerprint(parts)
    folder.mkdir(parents=True)
    row = dict.fromkeys(SCHEMA.names) | {
        "sample_id": sample.sample_id, "task": Task.CAPTION, "split": Split.TEST, "content_id": sample.content_id,
        "references": ["three"], "style": "", "hypothesis": "a tree", "shuffled": "a car", "nfe": 4,
        "metric": "bleu_4", "score": 0.25,
    }  # fmt: skip
    pq.write_table(pa.Table.from_pylist([row], schema=SCHEMA), folder / "predictions.parquet")
    scores = [{"task": "caption", "metric": "bleu_4", "value": 0.5}]
    facts = {"checkpoint": "abc/step-000010"}
    write_json(folder / "report.json", {"scores": scores, "facts": facts, "dataset": made.dataset.path.name})
    write_index(folder, {"fingerprint": folder.name, "parts": parts, "files": file_digests(folder)})
    remember(made, "register", {"evaluation": folder.name}, {"name": "tiny", "version": 7})


def remember(made, stage, parts, record):
    """A record of a finished stage."""
    write_index(made.workspace / "stages" / "tiny" / stage / fingerprint(parts), {"parts": parts, "record": record})


def make_workspace(root):
    """All of it, in `root/workspace`."""
    made = Made(root)
    make_sources(root)
    options = options_of(root)
    info = ingest(options, seed=0, workspace=made.workspace)
    remember(made, "ingest", read_index(info.path)["parts"], {"path": str(info.path)})
    write_latents(made)
    latents = {"modality": "image", "encoder_fingerprint": ENCODER}
    encoders = {"image": {"kind": "open_clip", "model": "small"}}
    remember(made, "encode", {"dataset": info.path.name, "encoders": encoders}, {"latents": [latents]})
    write_report(made)
    values = {"name": "tiny", "workspace": str(made.workspace), "ingest": options.model_dump(mode="json")}
    encode = {"image": {"kind": "open_clip"}, "audio": {"kind": "whisper"}, "text": {"kind": "bytes"}}
    made.conf.write_text(json.dumps(values | {"encode": encode}))
    return made
