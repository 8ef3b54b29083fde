"""Predictions with a registered champion, as a flow for schedules and as a plain function for the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from pydantic import ValidationError
from rich.text import Text

from flows.console import console
from multimodal.bulk_prediction import predict_with
from multimodal.errors import RequestError
from multimodal.evaluation.frontier import FrontierPoint, presets
from multimodal.generation import Constraints
from multimodal.package import read_package
from multimodal.predictor import Prediction, Row
from multimodal.registry import champion, evidence_of, fetch_package, load_champion
from multimodal.runners import RunnerOptions
from multimodal.sample import Task
from multimodal.training.options import SamplerOptions

THREADS = RunnerOptions()


def predict(
    workspace: Path,
    model: str,
    rows: Sequence[Row],
    sampler: Mapping[str, Any] | None = None,
    runner: RunnerOptions = THREADS,
) -> list[Prediction]:
    """Write one text per row with the champion of a registered model; needs no Prefect.

    Args:
        workspace: holds the registry, unless `MLFLOW_TRACKING_URI` names another.
        model: the configuration's name.
        rows: what to write, and from what.
        sampler: what overrules the model's own sampler: preset, num_steps, temperature, guidance_scale, seed.
        runner: who does the work; the predictions are the same.

    Raises:
        RegistryError: there is no champion.
        RequestError: there are no rows, or a sampler option is out of range.
        RunnerError: the workers died again and again.
    """
    if not rows:
        raise RequestError("nothing to predict: name media files, or give --text")
    if runner.kind != "threads":
        package = fetch_package(workspace, f"models:/{model}@champion")
        return predict_with(runner, package, rows, _overruled(read_package(package).sampler, sampler))
    predictor = load_champion(workspace, model)
    return list(predictor.predict(rows, _overruled(predictor.sampler, sampler)))


def _overruled(own: SamplerOptions, sampler: Mapping[str, Any] | None) -> SamplerOptions:
    try:
        return own.overruled(sampler or {})
    except ValidationError as error:
        raise _request_error(error, "sampler") from error


def _request_error(error: ValidationError, what: str) -> RequestError:
    problem = error.errors()[0]
    name = ".".join(map(str, problem["loc"])) or what
    return RequestError(f"{name}: {problem['msg']} (got {problem['input']!r})")


def runner_of(kind: str, workers: int | None) -> RunnerOptions:
    """Who predicts.

    Raises:
        RequestError: there is no such runner, or less than one worker.
    """
    try:
        return RunnerOptions.model_validate({"kind": kind} | ({} if workers is None else {"workers": workers}))
    except ValidationError as error:
        raise _request_error(error, "runner") from error


def steps_within(workspace: Path, model: str, task: str, budget_ms: float) -> int:
    """Most denoising steps with the best quality within a time per text, by the champion's stored frontier.

    Raises:
        RegistryError: there is no champion.
        RequestError: the champion has no frontier for the task, or is slower than that whatever its steps.
    """
    report = evidence_of(workspace, champion(workspace, model)).report or {}
    points = [FrontierPoint.from_json(point) for point in report.get("frontier", ()) if point["task"] == task]
    if not points:
        raise RequestError(f"the champion of '{model}' stores no times for '{task}'; name --steps instead of a budget")
    chosen = presets(points, budget_ms)[Task(task)]
    if chosen.ms_per_sample > budget_ms:
        fastest = f"{chosen.ms_per_sample:.1f} ms with {chosen.num_steps} steps"
        raise RequestError(f"no setting of '{model}' writes '{task}' in {budget_ms:g} ms; the fastest takes {fastest}")
    return chosen.num_steps


def rows_of(
    task: str,
    paths: Sequence[str],
    texts: Sequence[str],
    style: str = "",
    constraints: str = "",
    hint: str = "",
    picture: str | None = None,
) -> list[Row]:
    """Rows of a prediction table: one for each file and each text, all with the same style, constraints, hint, picture.

    Raises:
        RequestError: there is no such task, or the constraints are no JSON object of constraints.
    """
    if task not in list(Task):
        raise RequestError(f"no task '{task}'; the tasks are {', '.join(Task)}")
    given = Constraints.from_json(constraints) if constraints else None
    asked = Row(task, style=style, constraints=given, hint=hint, picture=picture)
    return [replace(asked, path=path) for path in paths] + [replace(asked, text=text) for text in texts]


def show_predictions(
    workspace: Path,
    model: str,
    rows: Sequence[Row],
    sampler: Mapping[str, Any],
    as_json: bool,
    runner: RunnerOptions = THREADS,
) -> int:
    """Predict and print, one line per row; returns how many rows have no text."""
    predictions = predict(workspace, model, rows, sampler, runner)
    for row, prediction in zip(rows, predictions, strict=True):
        source = row.path or row.text or ""
        if as_json:
            console().out(json.dumps({"input": source, **asdict(prediction)}), highlight=False)
            continue
        shown = (prediction.error, "red") if prediction.error else (prediction.text, "bold")
        doubt = (f"  (doubtful: {prediction.confidence:.0%})", "yellow") if prediction.abstain else ""
        console().print(Text.assemble((f"{source}  ", "dim"), shown, doubt), soft_wrap=True)
    return sum(bool(prediction.error) for prediction in predictions)


@flow(name="predict")
def predict_flow(
    model: str,
    task: str,
    paths: Sequence[str] = (),
    texts: Sequence[str] = (),
    workspace: str = "workspace",
    runner: str = "threads",
    workers: int | None = None,
) -> list[dict[str, Any]]:
    """The same as a flow: the predictions become a table artifact, and are returned as plain values."""
    rows = rows_of(task, paths, texts)
    written = [
        asdict(prediction) for prediction in predict(Path(workspace), model, rows, None, runner_of(runner, workers))
    ]
    sources = [*paths, *texts]
    shown = [
        {
            "input": source,
            "text": values["text"],
            "confidence": round(values["confidence"], 3),
            "error": values["error"],
        }
        for source, values in zip(sources, written, strict=True)
    ]
    create_table_artifact(shown, key="predictions", description=f"{task} by {model}@champion")
    return written
