"""Stage 4: checkpoint and test split -> scores beside their controls, predictions, report.html."""

from __future__ import annotations

from functools import partial

from prefect import flow, task

from flows.artifacts import Summary
from flows.encode import EncodedDataset
from flows.reporter import StageReporter
from flows.stage import IO_RETRIES, StagePlan, run_stage
from multimodal.config import PipelineConfig
from multimodal.dataset import DatasetInfo
from multimodal.evaluation import CONTROLS, EvaluationReport, evaluate, plan_evaluate
from multimodal.pairs.filtered import open_dataset
from multimodal.training.job import TrainResult


def plan(config: PipelineConfig, dataset: DatasetInfo, encoded: EncodedDataset, trained: TrainResult) -> StagePlan:
    """What evaluate depends on: checkpoint, dataset, encoders, its options, the sampler, the code."""
    parts = plan_evaluate(
        trained.checkpoint,
        open_dataset(dataset.path, encoded.pairs),
        encoded.by_modality,
        config.evaluate,
        config.sampler,
    )
    return StagePlan.of(config, "evaluate", parts)


@task(name="write and score the test split", **IO_RETRIES)
def score_split(
    config: PipelineConfig,
    dataset: DatasetInfo,
    encoded: EncodedDataset,
    trained: TrainResult,
    reporter: StageReporter,
) -> EvaluationReport:
    """Let the model write every text of the split, score it and draw the report."""
    reporter.say(f"writing the {config.evaluate.split} split")
    report = evaluate(
        trained.checkpoint,
        open_dataset(dataset.path, encoded.pairs),
        encoded.by_modality,
        config.evaluate,
        config.sampler,
        config.workspace / "reports" / plan(config, dataset, encoded, trained).fingerprint,
        history=trained.history,
        progress=reporter.progress,
        facts={"pipeline": config.name, "train steps": f"{trained.steps:,}", "train minutes": f"{trained.minutes:.1f}"},
    )
    for file in (report.html, report.json, report.frontier):
        reporter.run.log_file(file)
    return report


def metrics_of(config: PipelineConfig, report: EvaluationReport) -> dict[str, float]:
    """Every score with its controls, the ends of its interval and its conditioning gap, named as in MLflow."""
    metrics: dict[str, float] = {}
    for score in report.scores:
        name = f"{config.evaluate.split}/{score.task}/{score.metric}"
        metrics |= {name: score.value, f"{name}/conditioning_gap": score.conditioning_gap}
        metrics |= {f"{name}/{control}": value for control, value in score.controls.items()}
        if score.interval:
            metrics |= {f"{name}/low": score.interval[0], f"{name}/high": score.interval[1]}
    return metrics


def describe(config: PipelineConfig, report: EvaluationReport) -> Summary:
    """The score table."""
    table = [
        {
            "task": str(score.task),
            "metric": score.metric,
            "score": round(score.value, 4),
            "95 % interval": "{:.4f} to {:.4f}".format(*score.interval) if score.interval else "",
            **{control: round(score.controls[control], 4) if control in score.controls else "" for control in CONTROLS},
            "beats all controls": score.beats_controls if score.must_beat else "",
        }
        for score in report.scores
    ]
    judged = [score for score in report.scores if score.must_beat]
    beaten = sum(score.beats_controls for score in judged)
    return Summary(
        line=f"{beaten} of {len(judged)} scores beat their controls",
        table=table,
        metrics=metrics_of(config, report),
        details={"report": report.html, "predictions": report.predictions},
    )


@flow(name="evaluate", validate_parameters=False)
def evaluate_flow(
    config: PipelineConfig, dataset: DatasetInfo, encoded: EncodedDataset, trained: TrainResult
) -> EvaluationReport:
    """Score the model of a pipeline."""
    work = partial(score_split, config, dataset, encoded, trained)
    chosen = plan(config, dataset, encoded, trained)
    return run_stage(chosen, EvaluationReport, work, partial(describe, config))
