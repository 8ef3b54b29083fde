"""The evaluate stage: a checkpoint and a split in; scores with controls, predictions and the report out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from multimodal.dataset import Dataset
from multimodal.errors import DatasetError
from multimodal.evaluation.decontamination import Decontamination, decontaminate
from multimodal.evaluation.frontier import FRONTIER_SAMPLES, BatchTimer, measure_frontier
from multimodal.evaluation.items import Item, build_items
from multimodal.evaluation.metrics import metrics_for
from multimodal.evaluation.options import EvaluateOptions
from multimodal.evaluation.predictions import write_predictions
from multimodal.evaluation.report import ReportInputs, render_report
from multimodal.evaluation.score import TaskScore
from multimodal.evaluation.slices import picture_shapes
from multimodal.evaluation.task_results import TaskResult, Written, assess, main_metric, modality_scores
from multimodal.evaluation.writing import Generator, Stores, write_null, write_texts
from multimodal.fingerprint import (
    code_version,
    file_digest,
    file_digests,
    fingerprint,
    new_folder,
    read_index,
    write_file,
    write_index,
    write_json,
)
from multimodal.generation import CONFIG, TOKENIZER, WEIGHTS, TextGenerator
from multimodal.latents import LatentsInfo, LatentStore
from multimodal.pairs.filtered import FilteredDataset
from multimodal.sample import Modality, Split, Task
from multimodal.training.options import SamplerOptions

Progress = Callable[[int, int], None]
CODE = (
    "evaluation",
    "ingest/duplicates/plain.py",
    "tasks.py",
    "tokenizer.py",
    "retrieval.py",
    "data_uris.py",
    "generation",
    "decoder",
    "diffusion",
    "synthetic/descriptions.py",
)
PREDICTIONS, REPORT_JSON, REPORT_HTML = "predictions.parquet", "report.json", "report.html"
FRONTIER = "frontier.json"


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """A finished evaluation on disk.

    Args:
        path: its folder.
        html: report.html, one self-contained file.
        json: report.json, the same numbers for programs.
        predictions: predictions.parquet, one row per text.
        scores: every score with its controls.
        fingerprint: of what the evaluation depends on.
    """

    path: Path
    html: Path
    json: Path
    predictions: Path
    scores: tuple[TaskScore, ...]
    fingerprint: str

    @property
    def frontier(self) -> Path:
        """frontier.json, quality and latency by number of steps."""
        return self.path / FRONTIER

    @classmethod
    def load(cls, path: Path) -> EvaluationReport:
        """Read a finished evaluation.

        Raises:
            DatasetError: the folder holds none.
        """
        index = read_index(path)
        if index is None:
            raise DatasetError(f"no finished evaluation at {path}; run the evaluate stage first")
        values = json.loads((path / REPORT_JSON).read_text())
        scores = tuple(TaskScore.from_json(score) for score in values["scores"])
        files = (path / REPORT_HTML, path / REPORT_JSON, path / PREDICTIONS)
        return cls(path, *files, scores=scores, fingerprint=index["fingerprint"])


def plan_evaluate(
    checkpoint: Path,
    dataset: Dataset,
    latents: Mapping[Modality, LatentsInfo],
    options: EvaluateOptions,
    sampler: SamplerOptions,
) -> dict[str, Any]:
    """The parts of the evaluation's fingerprint: weights, dataset, encoders, options and code."""
    return {
        "checkpoint": {name: file_digest(checkpoint / name)[:16] for name in (WEIGHTS, CONFIG, TOKENIZER)},
        "dataset": dataset.info.fingerprint,
        "encoders": {str(modality): info.encoder_fingerprint for modality, info in sorted(latents.items())},
        "options": options.model_dump(mode="json"),
        "sampler": sampler.model_dump(mode="json"),
        "code": code_version(*CODE),
        **({"pairs": dataset.pairs.name} if isinstance(dataset, FilteredDataset) else {}),
    }


def evaluate(
    checkpoint: Path,
    dataset: Dataset,
    latents: Mapping[Modality, LatentsInfo],
    options: EvaluateOptions,
    sampler: SamplerOptions,
    output: Path,
    history: Path | None = None,
    progress: Progress | None = None,
    facts: Mapping[str, str] | None = None,
) -> EvaluationReport:
    """Evaluate a checkpoint on a split; returns at once where `output` holds the same evaluation already.

    Args:
        checkpoint: folder of the model.
        dataset: texts, splits and media.
        latents: the encoded contents of each modality; tasks of other modalities are left out and named.
        options: what is scored and shown.
        sampler: how texts are drawn.
        output: folder for report.html, report.json and predictions.parquet.
        history: `history.jsonl` of the training, for its curves.
        progress: told (texts written, texts in all).
        facts: further lines for the head of the report, e.g. the steps of the training; `pipeline` is its title.

    Raises:
        CheckpointError: the checkpoint is absent or incomplete.
        DatasetError: no task of the split can be evaluated.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = TextGenerator.load(checkpoint, device)
    parts = plan_evaluate(checkpoint, dataset, latents, options, sampler)
    finished = read_index(output)
    if finished and finished["fingerprint"] == fingerprint(parts):
        return EvaluationReport.load(output)
    stores = {modality: LatentStore(info.path) for modality, info in latents.items()}
    results, skipped = evaluate_tasks(generator, dataset, stores, options, sampler, progress)
    heading = {"checkpoint": f"{checkpoint.parent.name}/{checkpoint.name}", **(facts or {})}
    inputs = ReportInputs(results, skipped, dataset, stores, options, sampler, generator, history, heading)
    return write_report(output, inputs, parts)


def evaluate_tasks(
    generator: Generator,
    dataset: Dataset,
    stores: Stores,
    options: EvaluateOptions,
    sampler: SamplerOptions,
    progress: Progress | None = None,
) -> tuple[list[TaskResult], dict[str, str]]:
    """Let a model write all tasks of a split and score it; also the tasks left out, each with the reason.

    Raises:
        DatasetError: no task can be evaluated.
    """
    chosen, skipped = _choose(dataset, stores, options)
    if not chosen:
        raise DatasetError(f"nothing to evaluate in split '{options.split}': {skipped or 'it is empty'}")
    total, done = sum(_texts(len(items), options) for items in chosen.values()), 0

    def wrote(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    results = []
    train_contents = {sample.content_id for sample in dataset.samples(split=Split.TRAIN)}
    for task, items in chosen.items():
        written = _write(generator, items, stores, options, sampler, wrote)
        if all(generation is None for generation in written.generations):
            skipped[str(task)] = "the model refuses every request: it was not trained for this task"
            wrote(_texts(len(items), options) - len(items))
            continue
        written = replace(written, shapes=picture_shapes(items, dataset))
        train = build_items(dataset.samples(split=Split.TRAIN, task=task), encoded=stores.get(task.modality))
        sure = {
            item.sample_id: found.confidence for item, found in zip(items, written.generations, strict=True) if found
        }
        metrics = metrics_for(task, items, train, options.normaliser, sure)
        result = assess(written, metrics, train, stores, options.resamples, sampler.seed)
        points = measure_frontier(
            generator, items, stores, sampler, main_metric(metrics), options.frontier, options.batch_size, wrote
        )
        found = decontaminate(items, train, train_contents)
        results.append(replace(result, frontier=points, decontamination=found))
    return results, skipped


def _texts(items: int, options: EvaluateOptions) -> int:
    """How many texts are written for so many items, the frontier's included."""
    return items + len(options.frontier) * min(items, FRONTIER_SAMPLES)


def _write(
    generator: Generator,
    items: Sequence[Item],
    stores: Stores,
    options: EvaluateOptions,
    sampler: SamplerOptions,
    wrote: Callable[[int], None],
) -> Written:
    timer = BatchTimer()

    def done(count: int) -> None:
        timer(count)
        wrote(count)

    generations = write_texts(generator, items, stores, sampler, options.batch_size, done)
    null = write_null(generator, items[0].task, len(items), sampler, options.controls_samples, options.batch_size)
    return Written(items, generations, null, timer.seconds, timer.ms_per_sample)


def _choose(
    dataset: Dataset, stores: Stores, options: EvaluateOptions
) -> tuple[dict[Task, list[Item]], dict[str, str]]:
    chosen, skipped = {}, {}
    for task in Task:
        samples = dataset.samples(split=options.split, task=task)
        store = stores.get(task.modality)
        items = build_items(samples, options.max_samples, store)
        if not samples:
            continue
        if task is not Task.INFILL and store is None:
            skipped[str(task)] = f"no latents of modality '{task.modality}': encode it first"
        elif len(items) < 2:
            skipped[str(task)] = "fewer than two samples: there is no other condition to shuffle with"
        elif not build_items(dataset.samples(split=Split.TRAIN, task=task), 1, store):
            skipped[str(task)] = "the train split has no sample of this task: nothing to compare with"
        else:
            chosen[task] = items
    return chosen, skipped


def write_report(output: Path, inputs: ReportInputs, parts: Mapping[str, Any]) -> EvaluationReport:
    """Write predictions, report.json and report.html to a folder that appears whole or not at all."""
    with new_folder(output) as folder:
        write_predictions(folder / PREDICTIONS, inputs.results)
        values = report_values(inputs)
        write_json(folder / REPORT_JSON, values)
        write_json(folder / FRONTIER, values["frontier"])
        files = file_digests(folder)  # without the page, which the registry's gate writes its verdict on
        write_file(folder / REPORT_HTML, render_report(inputs).encode())
        write_index(folder, {"fingerprint": fingerprint(parts), "parts": dict(parts), "files": files})
    return EvaluationReport.load(output)


def report_values(inputs: ReportInputs) -> dict[str, Any]:
    """What report.json holds."""
    results = inputs.results
    return {
        "split": str(inputs.options.split),
        "dataset": inputs.dataset.info.fingerprint,
        "facts": dict(inputs.facts),
        "sampler": inputs.sampler.model_dump(mode="json"),
        "scores": [score.to_json() for result in results for score in result.scores],
        "slices": [asdict(part) for result in results for part in result.slices],
        "tasks": {str(result.task): result.facts() for result in results},
        "skipped": dict(inputs.skipped),
        "modalities": modality_scores(results),
        "frontier": [asdict(point) for result in results for point in result.frontier],
        "decontamination": asdict(sum((result.decontamination for result in results), Decontamination())),
    }
