"""Stage between encode and train, with `encode.pairs`: how well pictures and sounds go with their texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from prefect import flow, task

from flows.artifacts import Summary
from flows.encode import EncodedDataset
from flows.reporter import StageReporter
from flows.stage import IO_RETRIES, StagePlan, run_stage
from multimodal.config import PipelineConfig
from multimodal.dataset import Dataset, DatasetInfo
from multimodal.encoders.options import EncodeOptions
from multimodal.errors import ConfigError
from multimodal.fingerprint import code_version
from multimodal.pairs.choosing import PairCount, write_pairs
from multimodal.pairs.known import KnownScores
from multimodal.pairs.options import PairOptions
from multimodal.pairs.scoring import ScoredSamples, score_samples
from multimodal.pairs.table import PAIRS
from multimodal.sample import Modality, Task

CODE = ("pairs", "encoders/clip_text.py", "encoders/image.py", "encoders/audio.py")
KNOWN = "pair-scores"


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """What the pairs stage returns.

    Args:
        path: folder of the table.
        counts: by task and split.
        computed: pairs whose score was not known.
        without: modalities of the dataset whose encoder has no text side; their pairs have no scores.
    """

    path: Path
    counts: tuple[PairCount, ...]
    computed: int
    without: tuple[Modality, ...] = ()


def is_needed(config: PipelineConfig) -> bool:
    """Whether pairs are to be scored."""
    return config.encode.pairs is not None


def plan(config: PipelineConfig, dataset: DatasetInfo, encoded: EncodedDataset, encoders: EncodeOptions) -> StagePlan:
    """What pair scores depend on: the dataset, the encoders, which pairs stay, the code."""
    options = _options(config)
    parts = {
        "dataset": dataset.fingerprint,
        "encoders": {str(m): encoded.by_modality[m].encoder_fingerprint for m in _modalities(dataset, encoded)},
        "options": options.model_dump(mode="json", exclude={"batch_size"}),
        "code": code_version(*CODE),
    }
    return StagePlan.of(config, "pairs", parts)


@task(name="score the pairs of one modality", **IO_RETRIES)
def score_modality(
    config: PipelineConfig,
    dataset: DatasetInfo,
    encoded: EncodedDataset,
    encoders: EncodeOptions,
    modality: Modality,
    reporter: StageReporter,
) -> ScoredSamples | None:
    """Score the samples of one modality; None where its encoder has no text side.

    Raises:
        ConfigError: it has none, and pairs of the modality are to be filtered.
    """
    from multimodal.encoders import build_encoder
    from multimodal.latents import LatentStore

    options, info = _options(config), encoded.by_modality[modality]
    own = encoders.of(modality)
    assert own is not None
    encoder = cache(lambda: build_encoder(own, modality))
    known = KnownScores(config.workspace / KNOWN / info.encoder_fingerprint)
    if not known.folder.is_dir() and not encoder().has_text_side:
        if filtered := [str(task) for task in options.keep if task.modality is modality]:
            raise ConfigError(
                f"encode.pairs.keep.{filtered[0]}: the {own.kind} encoder of {modality} has no text side to compare "
                "texts with; take a CLIP model for pictures, a CLAP model for sounds, or leave the task out"
            )
        return None
    reporter.say(f"{modality} with text")
    samples = [sample for sample in Dataset(dataset.path).samples() if sample.modality is modality]
    store = LatentStore(info.path)
    return score_samples(samples, store, encoder, known, options.batch_size, reporter.progress)


def score_all(
    config: PipelineConfig,
    dataset: DatasetInfo,
    encoded: EncodedDataset,
    encoders: EncodeOptions,
    folder: Path,
    reporter: StageReporter,
) -> ScoredPairs:
    """Score all pairs, decide which stay, and write both down."""
    modalities = _modalities(dataset, encoded)
    found = {
        modality: score_modality(config, dataset, encoded, encoders, modality, reporter) for modality in modalities
    }
    scored = {modality: one for modality, one in found.items() if one is not None}
    names = {modality: encoded.by_modality[modality].encoder_fingerprint for modality in scored}
    parts = plan(config, dataset, encoded, encoders).parts
    counts = write_pairs(folder, scored, names, _options(config), parts)
    without = tuple(modality for modality, one in found.items() if one is None)
    return ScoredPairs(folder, tuple(counts), sum(one.computed for one in scored.values()), without)


def describe(scored: ScoredPairs) -> Summary:
    """Scores and who was left out, by task and split."""
    table = [
        {
            "task": count.task,
            "split": count.split,
            "pairs": count.pairs,
            "scored": count.scored,
            "mean cosine": round(count.mean, 4),
            "lowest that stays": None if count.threshold is None else round(count.threshold, 4),
            "left out": count.left_out,
            "encoder": count.encoder,
        }
        for count in scored.counts
    ]
    pairs, left_out = (sum(getattr(count, name) for count in scored.counts) for name in ("scored", "left_out"))
    line = f"{pairs:,} pairs scored ({scored.computed:,} new), {left_out:,} left out"
    if scored.without:
        line += f"; no text side: {', '.join(scored.without)}"
    metrics = {f"pairs/{count.task}/{count.split}/mean_cosine": count.mean for count in scored.counts}
    metrics |= {f"pairs/{count.task}/{count.split}/left_out": float(count.left_out) for count in scored.counts}
    return Summary(line=line, table=table, metrics=metrics, details={"folder": scored.path})


@flow(name="pairs", validate_parameters=False)
def pairs_flow(
    config: PipelineConfig, dataset: DatasetInfo, encoded: EncodedDataset, encoders: EncodeOptions
) -> EncodedDataset:
    """Score the pairs of a dataset; returns the latents with the table that says which samples are left out."""
    chosen = plan(config, dataset, encoded, encoders)
    folder = config.workspace / PAIRS / chosen.fingerprint
    work = partial(score_all, config, dataset, encoded, encoders, folder)
    return replace(encoded, pairs=run_stage(chosen, ScoredPairs, work, describe).path)


def _options(config: PipelineConfig) -> PairOptions:
    assert config.encode.pairs is not None
    return config.encode.pairs


def _modalities(dataset: DatasetInfo, encoded: EncodedDataset) -> list[Modality]:
    """Of contents that have texts to be compared with: pictures and sounds."""
    found = {Task(name).modality for name in dataset.by_task} - {Modality.TEXT}
    return sorted(found & encoded.by_modality.keys())
