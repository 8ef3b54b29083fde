"""Captions retrieved as drafts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multimodal.dataset import Dataset
from multimodal.decoder import DecoderConfig
from multimodal.evaluation.items import build_items
from multimodal.evaluation.writing import build_request
from multimodal.generation import Request, TextGenerator
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
from multimodal.latents import LatentsInfo, LatentStore, LatentWriter
from multimodal.retrieval import CaptionStore
from multimodal.sample import Modality, Sample, Split, Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.batches import TaskBatches
from multimodal.training.job import train
from multimodal.training.options import SamplerOptions
from tests.training.test_job import JOB

COUNT = 36


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Dataset, LatentsInfo]:
    """Pictures in groups of three, whose pooled vectors go round a circle: neighbours are most alike."""
    lines = ["path\ttext\tgroup\tsplit"]
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        split = "val" if number % 9 >= 6 else "train"
        lines += [f"{number}.png\tpicture {number} {word}\tg{number // 3}\t{split}" for word in ("one", "two")]
    (tmp_path / "rows.tsv").write_text("\n".join([*lines, ""]))
    source = {"name": "rows", "path": str(tmp_path / "rows.tsv"), "task": "caption"}
    dataset = Dataset(
        ingest(IngestOptions.model_validate({"sources": [source]}), seed=0, workspace=tmp_path / "workspace").path
    )
    numbers = {sample.content_id: int(sample.text.split()[1]) for sample in dataset.samples()}
    with LatentWriter(tmp_path / "latents", "fp", 8) as writer:
        for content_id, number in numbers.items():
            angle = 2 * np.pi * number / COUNT
            states = np.random.default_rng(number).normal(size=(4, 8))
            writer.add(content_id, states, np.array([np.cos(angle), np.sin(angle)]))
    return dataset, LatentsInfo(Modality.IMAGE, tmp_path / "latents", "fp", 8, len(numbers))


def number(text: str) -> int:
    return int(text.split()[1])


def test_a_draft_is_the_nearest_caption_of_another_group(pictures: tuple[Dataset, LatentsInfo]) -> None:
    """Never a picture's own caption, nor one of its group or of val; else the nearest there is."""
    dataset, info = pictures
    train_samples = dataset.samples(Split.TRAIN)
    store = CaptionStore(info.path, train_samples, dataset.samples(Split.VAL))
    known = {number(sample.text) for sample in train_samples}
    for sample in dataset.samples():
        own = number(sample.text)
        others = [other for other in known if other // 3 != own // 3]
        steps = {other: min((other - own) % COUNT, (own - other) % COUNT) for other in others}
        assert steps[number(store.reading(sample.content_id))] == min(steps.values())


def test_a_picture_alone_in_the_world_has_no_draft(pictures: tuple[Dataset, LatentsInfo]) -> None:
    """Where all known captions are its group's, there is none to retrieve."""
    dataset, info = pictures
    (sample, *_) = dataset.samples(Split.TRAIN)
    assert CaptionStore(info.path, [sample]).reading(sample.content_id) == ""


def test_the_model_carries_the_captions_it_retrieves(pictures: tuple[Dataset, LatentsInfo], tmp_path: Path) -> None:
    """Loaded from its checkpoint it finds for a val picture the nearest train caption, and writes by it."""
    dataset, info = pictures
    job = replace(JOB, decoder=JOB.decoder.model_copy(update={"drafts": (Task.CAPTION,)}))
    generator = TextGenerator.load(train(job, dataset, {Modality.IMAGE: info}, tmp_path).checkpoint)
    assert generator.decoder.config.memory == (24, 2)
    store = CaptionStore(info.path, dataset.samples(Split.TRAIN), dataset.samples(Split.VAL))
    plain = LatentStore(info.path)  # as evaluation opens it: without readings
    for item in build_items(dataset.samples(Split.VAL)):
        request = build_request(item, {Modality.IMAGE: plain})
        assert request.text == ""
        drafted = generator._with_draft(request)
        assert drafted.text == store.reading(item.content_id)
    assert scores(generator, request) == scores(generator, drafted) != scores(generator, replace(request, pooled=None))


def scores(generator: TextGenerator, request: Request) -> float:
    return generator.generate([request], SamplerOptions())[0].score


def test_training_copies_from_the_retrieved_caption(pictures: tuple[Dataset, LatentsInfo], tmp_path: Path) -> None:
    """A batch's drafts are what the store reads, and are none of the texts to be written."""
    dataset, info = pictures
    samples: list[Sample] = dataset.samples(Split.TRAIN)
    tokenizer = TextTokenizer.train([sample.text for sample in samples], 300)
    store = CaptionStore(info.path, samples)
    config = DecoderConfig(tokenizer.vocab_size, 16, {"image": 8}, ("caption",), drafts=("caption",), max_draft=16)
    batch = TaskBatches(Task.CAPTION, samples, tokenizer, store, config, 16, 0.0, 0).batch(0, 48)
    assert batch.condition.draft is not None
    drafts = [tokenizer.decode(row) for row in batch.condition.draft.tolist()]
    texts = [tokenizer.decode(row) for row in batch.x_0.tolist()]
    assert all(number(draft) // 3 != number(text) // 3 for draft, text in zip(drafts, texts, strict=True))
