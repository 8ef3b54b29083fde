"""Hints and pictures beside the content: from the manifest to what is written."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from multimodal.dataset import Dataset, read_ledger
from multimodal.decoder import CONDITION_TYPES
from multimodal.errors import RequestError
from multimodal.evaluation.items import build_items
from multimodal.evaluation.writing import build_request
from multimodal.generation import Request, TextGenerator
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
from multimodal.latents import LatentsInfo, LatentStore, LatentWriter
from multimodal.sample import Modality, Sample, Split, Task
from multimodal.training.batches import TaskBatches
from multimodal.training.job import train
from multimodal.training.options import SamplerOptions
from tests.training.conftest import WORDS, ToyLatents, teach
from tests.training.test_job import JOB

NAMES = ["bdfgklmnprst"[i % 12] + "aeiou"[i % 5] + "lmnrstkd"[i % 8] + "ioaue"[i % 5] for i in range(96)]
HEARD, UNHEARD = NAMES[:80:2], NAMES[80:88]


def called(word: str, name: str, number: int = 0, hint: str | None = None) -> Sample:
    """A clip in which a colour is heard clearly and a name not at all; the hint has it."""
    return Sample(
        f"{word}{name}{number}", word, Modality.AUDIO, Task.TRANSCRIBE, Split.TRAIN, "g", "toy", "", f"{word} {name}",
        hint=name if hint is None else hint,
    )  # fmt: skip


@pytest.fixture(scope="module")
def contextual(tmp_path_factory: pytest.TempPathFactory) -> TextGenerator:
    """A decoder that has learnt to take names from hints."""
    rng = random.Random(0)
    samples = [called(rng.choice(WORDS), rng.choice(HEARD), number) for number in range(400)]
    return teach(samples, tmp_path_factory.mktemp("run"), further=("hint",), draft_layers=1)


def asked(samples: Sequence[Sample]) -> list[Request]:
    latents = ToyLatents()
    return [Request(s.sample_id, s.task, latents.get(s.content_id), hint=s.hint) for s in samples]


def test_names_that_cannot_be_heard_are_written_from_the_hint(contextual: TextGenerator) -> None:
    """Names that training never saw too; with the hints of other clips it writes those clips' names."""
    clips = [called(word, name) for word, name in zip(WORDS, UNHEARD, strict=True)]
    others = [replace(clip, hint=name) for clip, name in zip(clips, UNHEARD[1:] + UNHEARD[:1], strict=True)]
    texts = [made.text for made in contextual.generate(asked(clips), SamplerOptions())]
    written = [made.text.split()[-1] for made in contextual.generate(asked(others), SamplerOptions())]
    assert sum(text == clip.text for text, clip in zip(texts, clips, strict=True)) >= 4
    assert sum(name == other.hint for name, other in zip(written, others, strict=True)) >= 4


def test_a_text_with_a_hint_does_not_depend_on_its_batch(contextual: TextGenerator) -> None:
    """Beside texts with longer hints and without any it is what it is alone."""
    clips = [
        called("red", "bal", hint="bal"),
        called("blue", "x", hint=""),
        called("pink", "x", hint="bal dem fir gos"),
    ]
    together = contextual.generate(asked(clips), SamplerOptions(temperature=1.0, seed=3))
    alone = [contextual.generate([request], SamplerOptions(temperature=1.0, seed=3))[0] for request in asked(clips)]
    assert [made.text for made in together] == [made.text for made in alone]


def test_guidance_by_the_hint_costs_one_pass_and_follows_it_more(contextual: TextGenerator) -> None:
    """Without the hint it cannot know the name; guided away from that, the name is surer still."""
    (request,) = asked([called("green", UNHEARD[0])])
    plain, guided = (
        contextual.generate([request], SamplerOptions(guidance=guidance))[0] for guidance in ({}, {"hint": 3.0})
    )
    assert guided.text == plain.text
    assert guided.score >= plain.score


def test_a_model_without_hints_says_so(contextual: TextGenerator) -> None:
    """A picture beside a clip is refused by a decoder that only reads hints, in one line that says what it reads."""
    request = Request("r", Task.TRANSCRIBE, ToyLatents().get("red"), picture=np.zeros((1, 4), dtype=np.float32))
    with pytest.raises(RequestError, match="not trained with a picture beside its input; it reads hint"):
        contextual.generate([request], SamplerOptions())


def test_each_further_input_is_dropped_on_its_own(contextual: TextGenerator) -> None:
    """The hint falls out in some rows that keep their latents, and the other way round."""
    config = contextual.decoder.config
    batches = TaskBatches(Task.TRANSCRIBE, [called("red", "bal")], contextual.tokenizer, None, config, 10, 0.5, 0)
    rows = torch.tensor([batches._dropped(random.Random(number)) for number in range(400)])
    latents, hint = (rows[:, CONDITION_TYPES.index(name)] for name in ("latents", "hint"))
    assert min((hint & ~latents).sum(), (latents & ~hint).sum()) > 40


@pytest.fixture
def beside(tmp_path: Path) -> Dataset:
    """Noisy texts of which some have a hint, some a picture, some both; one names a picture that is none."""
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    rows = [
        f"noisy txt {i}\tnoisy text {i}\t{'text' if i % 2 else ''}\t{'red.png' if i % 3 == 0 else ''}"
        for i in range(60)
    ]
    table = "\n".join(["input\ttext\thint\tpicture", *rows, "a\tb\t\tbad.png", ""])
    (tmp_path / "rows.tsv").write_text(table)
    source = {"name": "rows", "path": str(tmp_path / "rows.tsv"), "task": "denoise"}
    info = ingest(IngestOptions.model_validate({"sources": [source]}), seed=0, workspace=tmp_path / "workspace")
    return Dataset(info.path)


def test_ingest_keeps_what_stands_beside_the_content(beside: Dataset) -> None:
    """Counted, its picture stored once; a row whose picture cannot be read is quarantined with the reason."""
    assert beside.info.by_input == {"hint": 30, "picture": 20}
    assert len(beside.content_ids(Modality.IMAGE)) == len(list(beside.contents(modality=Modality.IMAGE))) == 1
    assert [(row.uri, row.reason) for row in read_ledger(beside.info.ledger) if row.reason] == [
        ("rows.tsv#61", "wrong_format")
    ]


def test_a_model_is_trained_and_evaluated_with_them(beside: Dataset, tmp_path: Path) -> None:
    """Whole job: the checkpoint reads both, and a request of an evaluated item carries both."""
    rng = np.random.default_rng(0)
    infos = {}
    for modality, tokens in ((Modality.TEXT, 5), (Modality.IMAGE, 4)):
        ids = beside.content_ids(modality)
        with LatentWriter(tmp_path / modality, "fp", 8) as writer:
            for content_id in ids:
                writer.add(content_id, rng.normal(size=(tokens, 8)), rng.normal(size=4))
        infos[modality] = LatentsInfo(modality, tmp_path / modality, "fp", 8, len(ids))
    result = train(JOB, beside, infos, tmp_path)
    generator = TextGenerator.load(result.checkpoint)
    assert generator.decoder.config.further == ("hint", "picture")
    stores = {modality: LatentStore(info.path) for modality, info in infos.items()}
    items = [item for item in build_items(beside.samples()) if item.hint and item.picture]
    request = build_request(items[0], stores)
    assert request.further == ("hint", "picture")
    plain = replace(request, picture=None, hint="")
    with_both, without = generator.generate([request, plain], SamplerOptions())
    assert with_both.score != without.score
