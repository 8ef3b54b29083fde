"""Each dataset beside its predecessor: a table in the Prefect dashboard, a JSON file, and a gate where one is set.

`workspace/stages/<pipeline>/ingest/<fingerprint>/drift.json`: beside the record of the stage and not in the dataset,
since who went before depends on the pipeline and the dataset does not.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from prefect.artifacts import create_table_artifact

from flows.reporter import StageReporter
from flows.stage import StagePlan
from multimodal.dataset import DatasetInfo
from multimodal.errors import DriftError
from multimodal.fingerprint import INDEX, read_index, write_json
from multimodal.ingest.drift import Drift, DriftReport, compare_datasets

DRIFT = "drift.json"


def judge_drift(plan: StagePlan, info: DatasetInfo, reporter: StageReporter) -> DriftReport:
    """Compare a new dataset with its predecessor, show the outcome, and stop where it goes beyond a threshold.

    The stage counts as finished only after that: a run that was stopped is stopped again.

    Raises:
        DriftError: with feature, value and threshold.
    """
    before = find_predecessor(plan)
    path = plan.folder / plan.fingerprint / DRIFT
    report = (
        compare_datasets(info.path, before.path, plan.config.ingest.drift) if before else DriftReport(info.path.name)
    )
    write_json(path, asdict(report))
    reporter.run.log_file(path)
    _publish(plan.config.name, report)
    if report.exceeded:
        raise DriftError(
            f"the dataset drifted from its predecessor {report.predecessor}: {'; '.join(report.exceeded)}. All "
            f"features: {path}. Mend the sources, or raise the threshold"
        )
    reporter.note(_line(plan.config.name, report))
    return report


def find_predecessor(plan: StagePlan) -> DatasetInfo | None:
    """The dataset that this pipeline made last, other than the planned one; None where there is none any more."""
    records = [path for path in plan.folder.glob(f"*/{INDEX}") if path.parent.name != plan.fingerprint]
    for path in sorted(records, key=_written, reverse=True):
        parts = (read_index(path.parent) or {}).get("parts", {})
        found = replace(plan, parts=parts).result(DatasetInfo)
        if found is not None:
            return found
    return None


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns


def _line(name: str, report: DriftReport) -> str:
    if not report.predecessor:
        return f"drift: the first dataset of {name}, nothing to compare with"
    largest = max((drift for drift in report.drifts if drift.psi is not None), key=lambda drift: drift.psi or 0.0)
    return f"drift from {report.predecessor}: largest PSI {largest.psi:.3f} ({largest.feature})"


def _publish(name: str, report: DriftReport) -> None:
    rows = [_row(drift) for drift in report.drifts] or [{"predecessor": "none"}]
    description = "; ".join(report.exceeded) or _line(name, report)
    create_table_artifact(rows, key="ingest-drift", description=description)


def _row(drift: Drift) -> dict[str, str]:
    return {name: f"{value:.4g}" if isinstance(value, float) else value or "" for name, value in asdict(drift).items()}
