"""Stage 2: dataset and frozen encoders -> latents; only contents that are not in the store yet are encoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, task

from flows.artifacts import Summary
from flows.reporter import StageReporter
from flows.stage import IO_RETRIES, StagePlan, run_stage
from multimodal.config import PipelineConfig
from multimodal.dataset import Dataset, DatasetInfo
from multimodal.encoders.options import EncodeOptions, EncoderOptions
from multimodal.fingerprint import code_version, file_digest
from multimodal.ingest import DECODERS
from multimodal.latents import LatentsInfo
from multimodal.sample import Modality, Task
from multimodal.storage import Storage

CODE = ("encoders", *DECODERS, "latents", "storage.py")


@dataclass(frozen=True, slots=True)
class EncodedDataset:
    """What the encode stage returns: the latents of each modality that the dataset's tasks need.

    Args:
        latents: by modality.
        pairs: folder of the pair scores that say which samples are left out; `flows.pairs` fills it in.
    """

    latents: tuple[LatentsInfo, ...]
    pairs: Path | None = None

    @property
    def by_modality(self) -> dict[Modality, LatentsInfo]:
        """The same, by modality."""
        return {info.modality: info for info in self.latents}


def needed_modalities(info: DatasetInfo) -> list[Modality]:
    """Modalities whose contents must be encoded; infill conditions on its own canvas."""
    beside = {Modality.IMAGE} if info.by_input.get("picture") else set()
    return sorted(beside | {Task(name).modality for name in info.by_task if name != Task.INFILL})


def plan(config: PipelineConfig, dataset: DatasetInfo, encoders: EncodeOptions) -> StagePlan:
    """What encode depends on: the dataset, each encoder with its weights, the code."""
    wanted = {str(modality): encoders.of(modality) for modality in needed_modalities(dataset)}
    parts = {"dataset": dataset.fingerprint, "encoders": {name: _parts(of) for name, of in wanted.items() if of}}
    return StagePlan.of(config, "encode", {**parts, "code": code_version(*CODE)})


def _parts(options: EncoderOptions) -> dict[str, Any]:
    # Where it runs and how many at once changes nothing in the result.
    named = options.model_dump(mode="json", exclude={"device", "batch_size", "pretrain", "weights", "origin"})
    if options.storage is Storage.FLOAT16:
        del named["storage"]  # as before there was a choice
    files = [file for name in (options.model, options.weights) if name for file in _files(Path(name))]
    return {**named, "files": [file_digest(file)[:16] for file in files] or options.weights}


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
    elif path.is_file():
        yield path


@task(name="encode what the store lacks", **IO_RETRIES)
def encode_modality(
    config: PipelineConfig, info: DatasetInfo, options: EncoderOptions, modality: Modality, reporter: StageReporter
) -> LatentsInfo:
    """Run one encoder over the contents of its modality."""
    from multimodal.encoders import build_encoder
    from multimodal.encoders.encode import encode_dataset

    reporter.say(f"{modality}: loading the encoder")
    encoder = build_encoder(options, modality)
    reporter.say(str(modality))
    store = config.workspace / "latents" / encoder.fingerprint
    return encode_dataset(
        Dataset(info.path), modality, encoder, store, reporter.progress, batch_size=options.batch_size
    )


def encode_all(
    config: PipelineConfig, info: DatasetInfo, encoders: EncodeOptions, reporter: StageReporter
) -> EncodedDataset:
    """Run the encoders one after the other: together they would only share the same cores."""
    chosen = {modality: encoders.of(modality) for modality in needed_modalities(info)}
    return EncodedDataset(
        tuple(
            encode_modality(config, info, options, modality, reporter)
            for modality, options in chosen.items()
            if options is not None
        )
    )


def describe(encoded: EncodedDataset) -> Summary:
    """Contents by modality."""
    table = [
        {
            "modality": str(info.modality),
            "contents": info.count,
            "encoded now": info.encoded,
            "failed": len(info.failed),
            "width": info.hidden_size,
            "encoder": info.encoder_fingerprint,
        }
        for info in encoded.latents
    ]
    counts = [f"{info.count:,} {info.modality} ({info.encoded:,} new)" for info in encoded.latents]
    return Summary(
        line=", ".join(counts) or "nothing to encode",
        table=table,
        metrics={f"encoded/{info.modality}": float(info.encoded) for info in encoded.latents},
        details={str(info.modality): info.path for info in encoded.latents},
    )


@flow(name="encode", validate_parameters=False)
def encode_flow(config: PipelineConfig, dataset: DatasetInfo, encoders: EncodeOptions) -> EncodedDataset:
    """Make the latents of a dataset."""
    work = partial(encode_all, config, dataset, encoders)
    return run_stage(plan(config, dataset, encoders), EncodedDataset, work, describe)
