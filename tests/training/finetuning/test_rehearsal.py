"""Learning something new without forgetting what was learnt."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from multimodal.dataset import Dataset
from multimodal.errors import ConfigError
from multimodal.generation import Request, TextGenerator
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
from multimodal.latents import LatentsInfo, LatentWriter
from multimodal.sample import Modality, Sample, Task
from multimodal.training.batches import TaskBatches
from multimodal.training.checkpoint import step_folder
from multimodal.training.finetuning.options import LoraOptions, RehearseOptions
from multimodal.training.finetuning.start import grown_decoder
from multimodal.training.finetuning.trainable import prepare
from multimodal.training.job import train
from multimodal.training.loop import Trainer
from multimodal.training.options import SamplerOptions, TrainOptions
from tests.training.conftest import Toy
from tests.training.test_job import JOB

QUICK = TrainOptions(batch_size=48, eval_every=1000, checkpoint_every=1000, learning_rate=4e-3, mixed_precision="no")


def share_right(generator: TextGenerator, samples: list[Sample], toy: Toy) -> float:
    """Texts that are written exactly."""
    chosen = samples[::17]
    requests = [Request(s.sample_id, s.task, toy.latents.get(s.content_id)) for s in chosen]
    written = generator.generate(requests, SamplerOptions())
    return sum(one.text == sample.text for one, sample in zip(written, chosen, strict=True)) / len(chosen)


@pytest.mark.slow
def test_adapters_and_rehearsal_keep_an_old_task_while_a_new_one_is_learnt(
    make_toy: Callable[..., Toy], tmp_path: Path
) -> None:
    """Captions stay right while transcripts, which tell the words backwards, are learnt in a new modality; a plain
    training on transcripts alone forgets the captions."""
    toy = make_toy()
    toy.batches.pop(Task.INFILL)
    options = QUICK.model_copy(update={"steps": 100})
    toy.score = lambda generator: {"val/score": 0.0}  # type: ignore[method-assign]
    toy.trainer(tmp_path / "old", options, lambda *_: None).train()
    start = TextGenerator.load(step_folder(tmp_path / "old", 100))
    assert share_right(start, toy.samples, toy) >= 0.9
    backwards = [
        replace(
            sample, modality=Modality.AUDIO, task=Task.TRANSCRIBE, text=f"last {last} then {second} and first {first}"
        )
        for sample in toy.samples
        for first, second, last in [sample.content_id.split("-")]
    ]
    config = replace(toy.decoder.config, tasks=("transcribe",), latent_sizes={"audio": 8})
    canvas = {**toy.canvas, "transcribe": 16}

    def tune(name: str, lora: LoraOptions | None, share: float | None, steps: int) -> TextGenerator:
        rehearse = None if share is None else RehearseOptions(share=share)
        tuning = options.model_copy(update={"init_from": "old", "lora": lora, "rehearse": rehearse, "steps": steps})
        torch.manual_seed(1)
        decoder = grown_decoder(config, start, tuning)
        prepare(decoder, (), lora)
        new, old = (
            TaskBatches(task, samples, toy.tokenizer, toy.latents, decoder.config, 16, 0.1, 3)
            for task, samples in ((Task.TRANSCRIBE, backwards), (Task.CAPTION, toy.samples))
        )
        trainer = Trainer(
            decoder, toy.tokenizer, canvas, {Task.TRANSCRIBE: new}, tuning, 3, tmp_path / name, toy.score,
            lambda *_: None, lambda *_: None, rehearsal={Task.CAPTION: old} if share else {},
        )  # fmt: skip
        trainer.train()
        return TextGenerator.load(step_folder(tmp_path / name, steps))

    kept, lost = tune("kept", LoraOptions(rank=8), 0.25, 130), tune("lost", None, None, 60)
    assert share_right(kept, backwards, toy) >= 0.8, "the new task is learnt"
    assert share_right(kept, toy.samples, toy) >= 0.8, "the old task is kept"
    assert share_right(lost, toy.samples, toy) < 0.5, "which it would not be"


def make_dataset(workspace: Path, name: str, header: str, rows: list[str]) -> Dataset:
    (workspace / f"{name}.tsv").write_text("\n".join([header, *rows]) + "\n")
    source = {"name": name, "path": str(workspace / f"{name}.tsv"), "task": name}
    info = ingest(IngestOptions.model_validate({"sources": [source]}), seed=0, workspace=workspace)
    return Dataset(info.path)


def encode(workspace: Path, dataset: Dataset) -> dict[Modality, LatentsInfo]:
    """Random latents in the store of encoder `fp`."""
    rng = np.random.default_rng(0)
    folder = workspace / "latents" / "fp"
    with LatentWriter(folder, "fp", 8) as writer:
        for content_id in dataset.content_ids(Modality.TEXT):
            writer.add(content_id, rng.normal(size=(5, 8)).astype(np.float16), rng.normal(size=4).astype(np.float32))
    return {Modality.TEXT: LatentsInfo(Modality.TEXT, folder, "fp", 8, 1)}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A finished training on denoising, with its dataset and latents in the workspace."""
    dataset = make_dataset(tmp_path, "denoise", "input\ttext", [f"noisy txt {i}\tnoisy text {i}" for i in range(60)])
    return train(JOB, dataset, encode(tmp_path, dataset), tmp_path).path


def test_a_job_rehearses_and_tells_what_is_forgotten(old: Path, tmp_path: Path) -> None:
    """Old samples have their share of the losses; old scores and the mean fall are logged with each new score."""
    rows = [f"plain text {i}\tfancy text {i}\tfancy" for i in range(60)]
    new = make_dataset(tmp_path, "restyle", "input\ttext\tstyle", rows)
    latents = encode(tmp_path, new)
    tuning = {"init_from": str(old), "rehearse": RehearseOptions(share=0.25), "lora": LoraOptions(rank=2)}
    job = replace(JOB, train=JOB.train.model_copy(update=tuning))
    result = train(job, new, latents, tmp_path)
    logged = [json.loads(line) for line in result.history.read_text().splitlines()]
    losses, scores = ({key for row in logged if name in row for key in row} for name in ("train/loss", "val/score"))
    assert {"train/loss/restyle", "train/loss/rehearsal/denoise"} <= losses
    assert {"val/restyle", "val/old/denoise", "val/forgetting"} <= scores
    tuned = TextGenerator.load(result.checkpoint)
    assert tuned.decoder.config.tasks == ("denoise", "restyle") and tuned.decoder.config.styles == ("fancy",)
    assert tuned.canvas.keys() == {"denoise", "restyle"}
    assert tuned.decoder.num_parameters == result.num_parameters
    assert train(job, new, latents, tmp_path) == result


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        ("nowhere", "is no finished training"),
        ("dataset", "dataset that .* is gone"),
        ("latents", "latents .* are gone"),
    ],
)
def test_gone_data_are_named(old: Path, tmp_path: Path, run: str, problem: str) -> None:
    """A folder that is no training, a dataset or latents that were removed."""
    new = make_dataset(tmp_path, "infill", "text", [f"words to fill {i}" for i in range(40)])
    rehearse = RehearseOptions(run=tmp_path / run) if run == "nowhere" else RehearseOptions()
    if run != "nowhere":
        (tmp_path / run).rename(tmp_path / "moved")
        new = Dataset(tmp_path / "moved" / new.path.name) if run == "dataset" else new
    job = replace(JOB, train=JOB.train.model_copy(update={"init_from": str(old), "rehearse": rehearse}))
    with pytest.raises(ConfigError, match=problem):
        train(job, new, {}, tmp_path)
