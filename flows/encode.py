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
from multimodal.latents import LatentsInfo, read_card
from multimodal.sample import Modality, Task
from multimodal.storage import Precision, Storage

SHOWN_DIGITS = 12
"""Of the hashes; the store's index has all of them."""

CODE = ("encoders", *DECODERS, "latents", "storage.py", "stored_contents.py")


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
    machine = {"device", "batch_size", "decode_in", "decode_workers"}
    named = options.model_dump(mode="json", exclude={*machine, "pretrain", "weights", "allow_pickle", "origin"})
    cut = {"overlap", "trim_silence_db"}
    named = {key: value for key, value in named.items() if key not in cut} | options.changed(*cut)
    if options.storage is Storage.FLOAT16:
        del named["storage"]  # as before there was a choice
    if options.precision == str(Precision.FLOAT32):
        del named["precision"]
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
    from multimodal.encoders import stage
    from multimodal.encoders.distributed import distributed

    reporter.say(str(modality))
    dataset, latents = Dataset(info.path), config.workspace / "latents"
    encoded = stage.encode_modality(
        dataset, modality, options, latents, reporter.progress, probe=config.encode.probe,
        runner=distributed(config.encode.runner, options),
    )  # fmt: skip
    if encoded.pace is not None:
        reporter.note(f"{modality}: {encoded.pace.line}")
    return encoded


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


def as_encoded(encoders: EncodeOptions, encoded: EncodedDataset) -> EncodeOptions:
    """The encoders with the precision that was found out where it was `auto`: predictions are made in the same."""
    chosen = {modality: (encoders.of(modality), info.precision) for modality, info in encoded.by_modality.items()}
    return encoders.model_copy(
        update={
            str(modality): options.model_copy(update={"precision": str(precision)})
            for modality, (options, precision) in chosen.items()
            if options is not None
        }
    )


def describe(encoded: EncodedDataset) -> Summary:
    """Contents by modality."""
    cards = {info.modality: read_card(info.path) for info in encoded.latents}
    table = [
        {
            "modality": str(info.modality),
            "contents": info.count,
            "encoded now": info.encoded,
            "failed": len(info.failed),
            "width": info.hidden_size,
            "tokens": cards[info.modality].get("tokens", ""),
            "encoder": info.encoder_fingerprint,
            "weights": cards[info.modality].get("weights", "")[:SHOWN_DIGITS],
            "preprocessing": cards[info.modality].get("preprocessing", "")[:SHOWN_DIGITS],
            "computed in": str(info.precision),
            "samples/s": f"{info.pace.per_second:,.1f}" if info.pace else "",
            "time in the model": f"{info.pace.model_share:.0%}" if info.pace else "",
            "held up by": str(info.pace.bottleneck) if info.pace else "",
        }
        for info in encoded.latents
    ]
    counts = [f"{info.count:,} {info.modality} ({info.encoded:,} new)" for info in encoded.latents]
    return Summary(
        line=", ".join(counts) or "nothing to encode",
        table=table,
        metrics={name: value for info in encoded.latents for name, value in _metrics(info).items()},
        details={str(info.modality): info.path for info in encoded.latents},
    )


def _metrics(info: LatentsInfo) -> dict[str, float]:
    values = {"encoded": float(info.encoded)}
    if info.pace is not None:
        values |= {"samples_per_second": info.pace.per_second, "model_share": info.pace.model_share}
        values |= {f"seconds_{step}": seconds for step, seconds in info.pace.steps.items()}
        values |= {"batch_size": float(info.pace.batch_size)}
    return {f"{name}/{info.modality}": value for name, value in values.items()}


@flow(name="encode", validate_parameters=False)
def encode_flow(config: PipelineConfig, dataset: DatasetInfo, encoders: EncodeOptions) -> EncodedDataset:
    """Make the latents of a dataset."""
    work = partial(encode_all, config, dataset, encoders)
    return run_stage(plan(config, dataset, encoders), EncodedDataset, work, describe)
