"""What a contender is made of, and its trainings: each is made once, and found again by its fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from multimodal.bench.gpt2 import GPT2Generator
from multimodal.bench.options import BenchOptions
from multimodal.config import PipelineConfig
from multimodal.dataset import Dataset
from multimodal.encoders.options import EncodeOptions
from multimodal.fingerprint import code_version
from multimodal.generation import TextGenerator
from multimodal.latents import LatentsInfo, LatentStore
from multimodal.sample import Modality
from multimodal.training.job import TrainJob, TrainResult, train

GENERATORS: dict[str, type[TextGenerator]] = {"native": TextGenerator, "gpt2": GPT2Generator}
"""`Contender.model` -> what loads and writes with its checkpoints."""


@dataclass(frozen=True)
class Materials:
    """What all contenders share.

    Args:
        dataset: train split to learn, val to choose checkpoints by, test to report.
        latents: of each modality that a task of the dataset needs.
        encoders: that made them.
        workspace: receives the trainings.
    """

    dataset: Dataset
    latents: Mapping[Modality, LatentsInfo]
    encoders: EncodeOptions
    workspace: Path

    @cached_property
    def stores(self) -> dict[Modality, LatentStore]:
        """The latents, opened."""
        return {modality: LatentStore(info.path) for modality, info in self.latents.items()}


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Args:
        contender: its name.
        model: see `Contender.model`.
        seed: of the training.
        result: its checkpoint is the one with the best sampled val score.
    """

    contender: str
    model: str
    seed: int
    result: TrainResult

    def load(self) -> TextGenerator:
        """What writes with it."""
        return GENERATORS[self.model].load(self.result.checkpoint)


def job_of(config: PipelineConfig) -> TrainJob:
    """The options that a contender's training depends on."""
    return TrainJob(config.tokenizer, config.decoder, config.train, config.sampler, config.seed)


def model_code(model: str) -> str:
    """Name and code of a model that is no part of a training's fingerprint; that of native ones is."""
    return model if model == "native" else f"{model}-{code_version(f'bench/{model}.py')}"


def train_contender(
    options: BenchOptions, name: str, seed: int, materials: Materials, progress: Callable[[int, int], None]
) -> Trained:
    """Train a contender with one seed, go on where an interrupted training stopped, or find it done.

    Native contenders lie among the pipeline's own checkpoints, so that either finds what the other has trained.

    Args:
        progress: receives (steps done, steps in all).
    """
    model = options.catalogue[name].model
    own_place = materials.workspace / "bench" / model_code(model)
    result = train(
        job_of(options.config_of(name, seed)),
        materials.dataset,
        materials.latents,
        materials.workspace if model == "native" else own_place,
        progress=progress,
        generator=GENERATORS[model],
    )
    return Trained(name, model, seed, result)
