"""What a stage leaves in the Prefect dashboard: a markdown summary and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact


@dataclass(frozen=True, slots=True)
class Summary:
    """What a stage did, for people.

    Args:
        line: one line for the console.
        table: rows of the stage's table, all with the same keys.
        metrics: for the stage's MLflow run.
        details: further lines of the markdown summary, name -> value.
        tags: of the stage's MLflow run, whether it ran or had nothing to do.
    """

    line: str
    table: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def publish(stage: str, reason: str, seconds: float, summary: Summary) -> None:
    """Create the artifacts of a stage that ran."""
    _create(stage, f"Ran in {seconds:.1f} s, because: {reason}.", summary)


def publish_unchanged(stage: str, reason: str, summary: Summary) -> None:
    """Create the artifacts of a stage that had nothing to do."""
    _create(stage, f"Skipped, {reason}.", summary)


def _create(stage: str, opening: str, summary: Summary) -> None:
    details = "\n".join(f"- **{name}**: {value}" for name, value in summary.details.items())
    markdown = f"# {stage}\n\n{summary.line}\n\n{opening}\n\n{details}\n"
    create_markdown_artifact(markdown, key=f"{stage}-summary", description=f"What {stage} did, and why.")
    create_table_artifact([dict(row) for row in summary.table], key=f"{stage}-table", description=summary.line)
