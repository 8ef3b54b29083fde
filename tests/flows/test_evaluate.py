"""What the evaluate stage hands to the dashboards and the terminal."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from flows import console as flows_console
from flows.console import show_scores
from flows.evaluate import describe, metrics_of
from multimodal.config import load_config
from multimodal.evaluation import EvaluationReport, TaskScore
from multimodal.sample import Task

SCORE = TaskScore(
    Task.TRANSCRIBE, "wer", 0.125, 0.9, 0.5, 1.0, False, {"samples": 3}, "made", null=0.875, interval=(0.0625, 0.25)
)
DIAGNOSTIC = TaskScore(Task.CAPTION, "distinct_1", 0.5, 0.9, 0.9, 0.9, True, {}, "made", must_beat=())
OLD = TaskScore(Task.DENOISE, "exact_match", 0.25, 0.5, 0.5, 0.0, True, {}, "made")
"""A score as versions before the null control wrote it."""


@pytest.fixture
def config():
    return load_config(Path(__file__).parents[2] / "conf" / "sample.yaml")


@pytest.fixture
def report(tmp_path):
    files = (tmp_path / name for name in ("report.html", "report.json", "predictions.parquet"))
    return EvaluationReport(tmp_path, *files, scores=(SCORE, DIAGNOSTIC, OLD), fingerprint="f")


def test_tracking_gets_scores_controls_intervals_and_gaps(config, report):
    """Every number is named by split, task and metric; what was not computed is left out."""
    metrics = metrics_of(config, report)
    assert {name.removeprefix("test/transcribe/wer"): metrics[name] for name in metrics if "/wer" in name} == {
        "": 0.125, "/constant": 0.9, "/nearest": 0.5, "/shuffled": 1.0, "/null": 0.875, "/conditioning_gap": 0.875,
        "/low": 0.0625, "/high": 0.25,
    }  # fmt: skip
    assert "test/denoise/exact_match/null" not in metrics
    assert all(isinstance(value, float) for value in metrics.values())


def test_the_table_has_intervals_and_all_controls(config, report):
    """All rows have the same columns, as a Prefect table needs; a diagnostic has no verdict and is not counted."""
    summary = describe(config, report)
    assert len({tuple(row) for row in summary.table}) == 1
    first, diagnostic, old = summary.table
    assert (first["95 % interval"], first["null"]) == ("0.0625 to 0.2500", 0.875)
    assert (diagnostic["beats all controls"], old["null"], old["95 % interval"]) == ("", "", "")
    assert summary.line == "1 of 2 scores beat their controls"


def test_the_terminal_shows_intervals_and_leaves_diagnostics_to_the_report(report, monkeypatch):
    """In 120 columns no number is cut."""
    printed = io.StringIO()
    monkeypatch.setattr(flows_console, "console", lambda: Console(width=120, file=printed))
    show_scores(report.scores)
    shown = printed.getvalue()
    assert "0.062 to 0.250" in shown and "null" in shown and "exact_match" in shown
    assert "distinct_1" not in shown and "…" not in shown
