"""A small real dataset with latents on disk, and ten-line models that stand where the trained decoder stands."""

import io
import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from multimodal.dataset import Dataset, DatasetWriter, Fate, LedgerRow
from multimodal.evaluation.items import build_items
from multimodal.evaluation.writing import build_request
from multimodal.generation import Generation
from multimodal.latents import LatentsInfo, LatentStore, LatentWriter
from multimodal.sample import Content, Modality, Sample, Split, Task, content_digest, sample_digest
from multimodal.tokenizer import MASK, PAD

SPLITS = (*[Split.TRAIN] * 16, *[Split.VAL] * 6, *[Split.TEST] * 6)
COLOURS = ("red", "green", "blue", "yellow", "black", "white", "pink")
THINGS = ("dog", "cat", "car", "boat", "tree", "house", "bird")
PLACES = ("garden", "street", "kitchen", "harbour", "forest")
LATENT_SIZE = 8


@dataclass(frozen=True)
class Corpus:
    """A dataset and its latents, as the earlier stages hand them over."""

    dataset: Dataset
    latents: dict[Modality, LatentsInfo]

    @property
    def stores(self):
        return {modality: LatentStore(info.path) for modality, info in self.latents.items()}


def sentence(number: int) -> str:
    """Another text for each number."""
    colour, thing = COLOURS[number % 7], THINGS[number // 7 % 7]
    return f"there is a {colour} {thing} in the {PLACES[number % 5]} beside {THINGS[number * 3 % 7]} number {number}"


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 32), (number * 9 % 256, number * 31 % 256, 120)).save(buffer, "PNG")
    return buffer.getvalue()


def sound(number: int) -> bytes:
    buffer = io.BytesIO()
    wave = np.sin(np.arange(4000) * (number + 3) / 40).astype(np.float32) / 2
    soundfile.write(buffer, wave, 16_000, format="WAV")
    return buffer.getvalue()


def noisy(text: str) -> str:
    return text.replace("there", "tehre").replace("number", "nubmer")


def samples_of(number: int, split: Split) -> list[tuple[Sample, bytes]]:
    """Captions, a transcript, a noisy text, a text with a gap and a pair of styles, with the bytes they share."""
    text = sentence(number)
    formal, informal = f"One may observe: {text}.", f"hey look, {text}!"
    rows = [
        (Task.CAPTION, picture(number), text, "", ""),
        (Task.CAPTION, picture(number), f"a picture where {text}", "", ""),
        (Task.TRANSCRIBE, sound(number), text, "", ""),
        (Task.DENOISE, noisy(text).encode(), text, noisy(text), ""),
        (Task.INFILL, text.encode(), text, "", ""),
        (Task.RESTYLE, formal.encode(), informal, formal, "informal"),
        (Task.RESTYLE, informal.encode(), formal, informal, "formal"),
        (Task.AUDIO_CAPTION, sound(number), f"someone says that {text}", "", ""),
        (Task.AUDIO_CAPTION, sound(number), f"a voice: {text}", "", ""),
    ]
    return [(_sample(split, number, *row), row[1]) for row in rows]


def _sample(split: Split, number: int, task: Task, data: bytes, text: str, shown: str, style: str) -> Sample:
    content_id = content_digest(data)
    speaker = f"voice{number % 2 if split is Split.TRAIN else number % 3}" if task is Task.TRANSCRIBE else ""
    return Sample(
        sample_digest(content_id, task, style, text), content_id, task.modality, task, split, str(number),
        "made", f"made#{number}", text, shown, style, speaker,
    )  # fmt: skip


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Corpus:
    """28 sentences, each as picture, sound and text; voice2 is heard outside train only."""
    root = tmp_path_factory.mktemp("corpus")
    pairs = [pair for number, split in enumerate(SPLITS) for pair in samples_of(number, split)]
    with DatasetWriter.open(root / "dataset" / "f0", root / "ledger" / "f0", {"made": "here"}) as writer:
        for content_id, (sample, data) in {sample.content_id: (sample, data) for sample, data in pairs}.items():
            if sample.modality is not Modality.TEXT:
                writer.add_media(Content(content_id, sample.modality, data))
        for sample, _ in pairs:
            writer.add_sample(sample)
            writer.add_ledger(LedgerRow("made", sample.uri, Fate.KEPT, sample_id=sample.sample_id))
    dataset = Dataset(root / "dataset" / "f0")
    return Corpus(dataset, {modality: write_latents(root, dataset, modality) for modality in Modality})


def write_latents(root: Path, dataset: Dataset, modality: Modality) -> LatentsInfo:
    """Random latents, another one for each content."""
    ids, path = dataset.content_ids(modality), root / "latents" / modality
    with LatentWriter(path, "made-encoder", LATENT_SIZE) as writer:
        for content_id in ids:
            states = np.random.default_rng(int(content_id[:8], 16)).normal(size=(3, LATENT_SIZE))
            writer.add(content_id, states, states.mean(axis=0))
    return LatentsInfo(modality, path, "made-encoder", LATENT_SIZE, len(ids))


class Oracle:
    """Knows the right text of every condition: what a perfect model would write."""

    def __init__(self, corpus: Corpus) -> None:
        items = [item for task in Task for item in build_items(corpus.dataset.samples(task=task))]
        self.texts = {self.key(build_request(item, corpus.stores)): item for item in items}

    @staticmethod
    def key(request):
        states = request.hidden_states
        return request.task, request.style, request.text if states is None else states.tobytes()

    def generate(self, requests, options, trajectory=False):
        return [self.write(request, trajectory) for request in requests]

    def write(self, request, trajectory):
        item = self.texts.get(self.key(request))  # without a condition it says nothing
        return write(request, item, trajectory) if item else Generation(request.request_id, "", (), (), 1, 1.0)


class Blind:
    """Writes the same whatever it is asked: a model that does not look at its input."""

    def generate(self, requests, options, trajectory=False):
        return [
            Generation(request.request_id, "there is a red dog", ("there",), (0.5,), 1, 0.5, filled=("red dog",))
            for request in requests
        ]


def write(request, item, trajectory):
    """A generation of an item's text, as the sampler would give it in two steps."""
    tokens = tuple(f" {word}" for word in item.text.split())
    rng = random.Random(request.request_id)
    canvas = (*tokens, PAD)
    half = tuple(MASK if index % 2 else token for index, token in enumerate(canvas))
    steps = ((MASK,) * len(canvas), half, canvas) if trajectory else ()
    confidences = tuple(math.sqrt(rng.random()) for _ in tokens)
    filled = item.references[:1] if item.task is Task.INFILL else ()
    return Generation(request.request_id, item.text, tokens, confidences, 2, 0.9, steps, filled)


def history(path: Path) -> Path:
    """Rows as the training writes them."""
    rows = [{"step": step, "loss": 6 * math.exp(-step / 300) + 0.4} for step in range(0, 1000, 20)]
    rows += [
        {"step": step, "val/score": 1 - math.exp(-step / 400), "val/caption": 1 - math.exp(-step / 700)}
        for step in range(0, 1000, 200)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
