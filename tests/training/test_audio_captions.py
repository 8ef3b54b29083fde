"""Descriptions of sounds, beside transcripts of speech."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from multimodal.dataset import Dataset
from multimodal.decoder import CrossAttentionDecoder
from multimodal.evaluation.options import EvaluateOptions
from multimodal.evaluation.stage import evaluate_tasks
from multimodal.generation import Request, TextGenerator
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
from multimodal.latents import LatentsInfo, LatentStore, LatentWriter
from multimodal.sample import Modality, Sample, Split, Task
from multimodal.training.job import train
from multimodal.training.options import SamplerOptions
from tests.decoder.test_decoder import CONFIG, condition_input
from tests.small_model import sound
from tests.training.conftest import WORDS, ToyLatents, teach
from tests.training.test_job import JOB


@pytest.fixture
def sounds(tmp_path: Path) -> tuple[Dataset, dict[Modality, LatentsInfo]]:
    """Tones, each with a transcript and two captions."""
    spoken, described = ["path\ttext"], ["path\ttext"]
    for number in range(30):
        (tmp_path / f"{number}.wav").write_bytes(sound(0.2, 300 + 20 * number))
        spoken.append(f"{number}.wav\tbeep {number}")
        described += [f"{number}.wav\t{how} tone of {number}" for how in ("a pure", "some")]
    sources = []
    for task, lines in (("transcribe", spoken), ("audio_caption", described)):
        (tmp_path / f"{task}.tsv").write_text("\n".join([*lines, ""]))
        sources.append({"name": task, "path": str(tmp_path / f"{task}.tsv"), "task": task})
    options = IngestOptions.model_validate({"sources": sources, "splits": {"val": 0.2, "test": 0.2}})
    dataset = Dataset(ingest(options, seed=0, workspace=tmp_path / "workspace").path)
    ids = dataset.content_ids(Modality.AUDIO)
    rng = np.random.default_rng(0)
    with LatentWriter(tmp_path / "latents", "fp", 8) as writer:
        for content_id in ids:
            writer.add(content_id, rng.normal(size=(5, 8)), rng.normal(size=4), "beep")
    return dataset, {Modality.AUDIO: LatentsInfo(Modality.AUDIO, tmp_path / "latents", "fp", 8, len(ids))}


def test_a_model_is_trained_and_scored_by_the_metrics_of_captions(
    sounds: tuple[Dataset, dict[Modality, LatentsInfo]], tmp_path: Path
) -> None:
    """Both captions of a sound are references of one item; transcripts of the same sounds keep their own metrics."""
    dataset, latents = sounds
    assert dataset.info.by_task == {"audio_caption": 60, "transcribe": 30}
    generator = TextGenerator.load(train(JOB, dataset, latents, tmp_path).checkpoint)
    stores = {modality: LatentStore(info.path) for modality, info in latents.items()}
    options = EvaluateOptions(split=Split.VAL, frontier=(), resamples=100)
    results, skipped = evaluate_tasks(generator, dataset, stores, options, SamplerOptions(num_steps=2))
    assert skipped == {}
    metrics = {result.task: {score.metric for score in result.scores} for result in results}
    assert "cider_d" in metrics[Task.AUDIO_CAPTION] and "wer" in metrics[Task.TRANSCRIBE]
    (captions,) = [result for result in results if result.task is Task.AUDIO_CAPTION]
    assert all(len(item.references) == 2 for item in captions.items)


def test_the_rate_of_speech_is_that_of_transcripts(
    sounds: tuple[Dataset, dict[Modality, LatentsInfo]], tmp_path: Path
) -> None:
    """A sound's description does not follow its order, and says nothing of how many tokens a latent stands for."""
    dataset, latents = sounds
    only = {Task.AUDIO_CAPTION: 1.0}
    job = replace(JOB, train=JOB.train.model_copy(update={"tasks": only}))
    assert not TextGenerator.load(train(job, dataset, latents, tmp_path).checkpoint).decoder.config.rates
    assert TextGenerator.load(train(JOB, dataset, latents, tmp_path).checkpoint).decoder.config.rates


def test_latents_of_a_description_belong_nowhere_in_it() -> None:
    """The same latents have places where the text follows their order, and none where it does not."""
    torch.manual_seed(0)
    given = condition_input()
    decoder = CrossAttentionDecoder(replace(CONFIG, rates={str(given.modality): 0.5}))
    ordered, free = (decoder.condition(replace(given, ordered=flag)) for flag in (True, False))
    assert ordered.lengths is not None and (ordered.places == ordered.places).any()
    assert free.lengths is None and free.places is None


def test_a_toy_describes_what_it_hears(tmp_path: Path) -> None:
    """Each sound gets one of its own captions."""
    forms = ("a {} bell rings", "ringing of a {} bell")
    samples = [
        Sample(
            f"{word}{row}", word, Modality.AUDIO, Task.AUDIO_CAPTION, Split.TRAIN, word, "toy", word, form.format(word)
        )
        for word in WORDS
        for row, form in enumerate(forms)
    ]
    model = teach(samples, tmp_path, 10, 80, 340)
    requests = [Request(word, Task.AUDIO_CAPTION, ToyLatents().get(word)) for word in WORDS]
    written = [made.text for made in model.generate(requests, SamplerOptions())]
    right = [text in {form.format(word) for form in forms} for word, text in zip(WORDS, written, strict=True)]
    assert sum(right) >= 7
