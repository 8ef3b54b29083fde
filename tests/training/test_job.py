"""A whole training job: dataset and latents in, chosen checkpoint out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import ModernBertConfig, ModernBertModel

from multimodal.dataset import Dataset
from multimodal.errors import ConfigError
from multimodal.generation import TextGenerator
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
from multimodal.latents import LatentsInfo, LatentWriter
from multimodal.sample import Modality, Task
from multimodal.training.job import TrainJob, plan_train, train
from multimodal.training.options import DecoderOptions, HybridOptions, SamplerOptions, TokenizerOptions, TrainOptions
from multimodal.verification import verify

JOB = TrainJob(
    TokenizerOptions(vocab_size=300, max_tokens=24),
    DecoderOptions(hidden_size=32, num_layers=1, num_heads=2),
    TrainOptions(steps=6, batch_size=8, eval_every=3, checkpoint_every=3, eval_samples=4),
    SamplerOptions(num_steps=2),
)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Denoise and infill rows; one text is far too long for the canvas."""
    lines = [f"noisy txt {i}\tnoisy text {i}" for i in range(60)] + ["lng\t" + "long text " * 12]
    (tmp_path / "denoise.tsv").write_text("input\ttext\n" + "\n".join(lines) + "\n")
    (tmp_path / "infill.tsv").write_text("text\n" + "\n".join(f"words to fill {i}" for i in range(40)) + "\n")
    sources = [
        {"name": "denoise", "path": str(tmp_path / "denoise.tsv"), "task": "denoise"},
        {"name": "infill", "path": str(tmp_path / "infill.tsv"), "task": "infill"},
    ]
    info = ingest(IngestOptions.model_validate({"sources": sources}), seed=0, workspace=tmp_path / "workspace")
    return Dataset(info.path)


@pytest.fixture
def latents(dataset: Dataset, tmp_path: Path) -> dict[Modality, LatentsInfo]:
    """Random latents of every input text."""
    rng = np.random.default_rng(0)
    ids = dataset.content_ids(Modality.TEXT)
    with LatentWriter(tmp_path / "latents", "fp", 8) as writer:
        for content_id in ids:
            writer.add(content_id, rng.normal(size=(5, 8)).astype(np.float16), rng.normal(size=4).astype(np.float32))
    return {Modality.TEXT: LatentsInfo(Modality.TEXT, tmp_path / "latents", "fp", 8, len(ids))}


def test_trains_once(dataset: Dataset, latents: dict[Modality, LatentsInfo], tmp_path: Path) -> None:
    """The result's checkpoint loads with the tasks of the dataset; a second call does no step."""
    steps: list[int] = []
    result = train(JOB, dataset, latents, tmp_path, progress=lambda done, total: steps.append(done))
    assert steps == [1, 2, 3, 4, 5, 6] and result.steps == 6
    generator = TextGenerator.load(result.checkpoint)
    assert set(generator.decoder.config.tasks) == {Task.DENOISE, Task.INFILL}
    assert generator.decoder.num_parameters == result.num_parameters
    assert train(JOB, dataset, latents, tmp_path, progress=lambda done, total: steps.append(done)) == result
    assert len(steps) == 6


@pytest.mark.parametrize("process", ["gaussian", "simplex"])
def test_trains_continuous_processes(
    dataset: Dataset, latents: dict[Modality, LatentsInfo], tmp_path: Path, process: str
) -> None:
    """Drafts, sampled scores and all; the checkpoint says which process it is of."""
    job = replace(JOB, train=JOB.train.model_copy(update={"process": process}))
    generator = TextGenerator.load(train(job, dataset, latents, tmp_path).checkpoint)
    assert generator.decoder.config.continuous is not None
    assert generator.decoder.config.continuous.process == process


def test_a_finished_training_is_verified_to_the_byte(
    dataset: Dataset, latents: dict[Modality, LatentsInfo], tmp_path: Path
) -> None:
    """The whole training and its chosen step; one flipped bit in weights, optimiser or history is named."""
    result = train(JOB, dataset, latents, tmp_path)
    assert all(
        found.is_intact and not found.notes for path in (result.path, result.checkpoint) for found in verify(path)
    )
    for name in ("decoder.safetensors", "training/optimizer.safetensors", "../history.jsonl"):
        path = (result.checkpoint / name).resolve()
        data = path.read_bytes()
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        (found,) = verify(result.path)
        assert [one.place for one in found.differences] == [path.relative_to(result.path).as_posix()]
        path.write_bytes(data)


def test_says_what_does_not_fit(dataset: Dataset, latents: dict[Modality, LatentsInfo], tmp_path: Path) -> None:
    """A train text longer than the canvas is left out and counted."""
    long = [s for s in dataset.samples() if len(s.text) > 100]
    assert len(long) == 1
    result = train(JOB, dataset, latents, tmp_path)
    assert result.too_long == ({"denoise": 1} if long[0].split == "train" else {})


def test_the_checkpoint_knows_what_its_confidences_are_worth(
    dataset: Dataset, latents: dict[Modality, LatentsInfo], tmp_path: Path
) -> None:
    """Calibrated for each task on val texts, unless that is turned off."""
    result = train(JOB, dataset, latents, tmp_path)
    assert set(TextGenerator.load(result.checkpoint).calibrations) == {"denoise", "infill"}
    off = replace(JOB, train=JOB.train.model_copy(update={"calibration_samples": 0}))
    assert not TextGenerator.load(train(off, dataset, latents, tmp_path).checkpoint).calibrations


def test_history_tells_losses_and_scores(
    dataset: Dataset, latents: dict[Modality, LatentsInfo], tmp_path: Path
) -> None:
    """The log receives what history.jsonl keeps: losses by task, the sampled score and the conditioning gap."""
    logged: dict[str, float] = {}
    result = train(JOB, dataset, latents, tmp_path, log=lambda step, metrics: logged.update(metrics))
    assert {"train/loss", "train/loss/denoise", "val/score", "val/conditioning_gap", "val/bound"} <= logged.keys()
    assert 0 < logged["val/bound"] < 20
    assert result.history.read_text().count("val/score") == 2


def test_the_process_is_stored_with_the_decoder(
    dataset: Dataset, latents: dict[Modality, LatentsInfo], tmp_path: Path
) -> None:
    """With its options, so that texts are written by the sampler that goes with it; the bound is reported too."""
    options = JOB.train.model_copy(update={"process": "hybrid", "hybrid": HybridOptions(replaced=0.2)})
    logged: dict[str, float] = {}
    job = replace(JOB, train=options)
    result = train(job, dataset, latents, tmp_path, log=lambda step, metrics: logged.update(metrics))
    config = TextGenerator.load(result.checkpoint).decoder.config
    assert config.process == "hybrid" and config.process_options["replaced"] == 0.2
    assert logged["val/bound"] > 0


def test_options_of_the_decoder_reach_it(
    dataset: Dataset, latents: dict[Modality, LatentsInfo], tmp_path: Path
) -> None:
    """Size, norm and shortened latents are part of the checkpoint."""
    shape = {"size": "tiny", "num_layers": 1, "norm": "rms", "resample": {"text": 2}, "downsample": {"text": 2}}
    job = replace(JOB, decoder=DecoderOptions.model_validate(shape))
    config = TextGenerator.load(train(job, dataset, latents, tmp_path).checkpoint).decoder.config
    assert (config.hidden_size, config.num_layers, config.norm) == (128, 1, "rms")
    assert config.resample == config.downsample == {"text": 2}


def test_a_pretrained_backbone_is_trained_on(
    dataset: Dataset, latents: dict[Modality, LatentsInfo], tmp_path: Path
) -> None:
    """Its shape is the decoder's; another one is another training."""
    shape = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
    folder = tmp_path / "modernbert"
    ModernBertModel(ModernBertConfig(vocab_size=30, **shape, **ids)).save_pretrained(folder)
    job = replace(JOB, train=JOB.train.model_copy(update={"init_backbone": str(folder)}))
    result = train(job, dataset, latents, tmp_path)
    config = TextGenerator.load(result.checkpoint).decoder.config
    assert (config.num_layers, config.feed_forward_size, config.activation) == (2, 40, "gelu")
    before = plan_train(job, "dataset", {})
    ModernBertModel(ModernBertConfig(vocab_size=30, **shape, **ids)).save_pretrained(folder)
    assert plan_train(job, "dataset", {}) != before


def test_a_missing_encoder_is_named(dataset: Dataset, tmp_path: Path) -> None:
    """Samples whose modality has no latents stop the job before any work."""
    with pytest.raises(ConfigError, match=r"add encode\.text"):
        train(JOB, dataset, {}, tmp_path)


def test_a_sampler_of_another_process_stops_the_job(
    dataset: Dataset, latents: dict[Modality, LatentsInfo], tmp_path: Path
) -> None:
    """Before any step, with the samplers that would do."""
    job = replace(JOB, sampler=SamplerOptions(kind="revision"))
    with pytest.raises(ConfigError, match="'revision' does not go with the process 'absorbing'"):
        train(job, dataset, latents, tmp_path, progress=lambda done, total: pytest.fail("a step was done"))
