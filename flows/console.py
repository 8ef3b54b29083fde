"""What a run shows in the terminal around its progress bars: what was skipped, and the scores at the end."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from flows.pipeline import Intention, PipelineResult
    from multimodal.evaluation.score import TaskScore

STAGE_WIDTH = 9


def console() -> Console:
    """The console that runs write to: standard output, wide enough for the score table where there is no terminal."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=120)


def say_unchanged(stage: str, reason: str) -> None:
    """One line for a stage that had nothing to do."""
    console().print(Text.assemble((f"{stage:<{STAGE_WIDTH}} ", "bold"), (reason, "green")))


def show_result(result: PipelineResult) -> None:
    """Scores beside their controls, the model version, and where to look further."""
    facts: dict[str, str] = {"dataset": str(result.dataset.path)}
    if result.trained is not None:
        facts["checkpoint"] = str(result.trained.checkpoint)
    if result.report is not None:
        show_scores(result.report.scores)
        facts["report"] = str(result.report.html)
    if (version := result.version) is not None:
        aliases = ", ".join(version.aliases) or "no alias"
        facts["model"] = f"{version.name} version {version.version} ({aliases}): {version.reason}"
    show_facts(facts | dashboard_commands(result.workspace))


def dashboard_commands(workspace: Path) -> dict[str, str]:
    """The commands that open the two dashboards on what a run left."""
    from multimodal.tracking import ui_command

    server = os.environ.get("PREFECT_API_URL")
    home = os.environ.get("PREFECT_HOME")
    prefix = f"PREFECT_HOME={shlex.quote(home)} " if home else ""
    prefect = f"open {server.removesuffix('/api')}" if server else f"{prefix}{program('prefect')} server start"
    return {"Prefect": prefect, "MLflow": ui_command(workspace, program("mlflow"))}


def program(name: str) -> str:
    """A program of this installation as a shell finds it: by name where its folder is on the path, else by its path."""
    beside = Path(sys.executable).with_name(name)
    if not beside.is_file() or shutil.which(name) == str(beside):
        return name
    shown = beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside
    return shlex.quote(str(shown))


def show_scores(scores: tuple[TaskScore, ...]) -> None:
    """The table of scores beside their controls; a score that does not beat its shuffled control is red.

    Scores that no control is asked to lose to (diagnostics) are in the report alone.
    """
    from multimodal.evaluation.score import CONTROLS  # its package is loaded by then, and not before

    table = Table(title="Scores beside their controls", title_justify="left")
    for column in ("task", "metric"):
        table.add_column(column)
    for column in ("score", "95 % interval", *CONTROLS, "input"):
        table.add_column(column, justify="right")
    for score in (score for score in scores if score.must_beat):
        style = "" if score.beats_controls else "yellow" if score.conditioning_gap > 0 else "bold red"
        arrow = "" if score.higher_is_better else " (less is better)"
        low_high = "{:.3f} to {:.3f}".format(*score.interval) if score.interval else ""
        numbers = [score.value, *(score.controls.get(name) for name in CONTROLS), score.copied]
        shown = ["" if number is None else f"{number:.3f}" for number in numbers]
        table.add_row(str(score.task), score.metric + arrow, shown[0], low_high, *shown[1:], style=style)
    console().print(table)


def show_facts(facts: Mapping[str, str]) -> None:
    """Names and values, aligned; a value is never wrapped, so that commands and paths can be copied."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        console().print(Text.assemble((f"{name:<{width}}  ", "bold"), value), soft_wrap=True)


def show_intentions(intentions: Sequence[Intention]) -> None:
    """The table of a dry run."""
    table = Table(title="What a run would do", title_justify="left")
    for column in ("stage", "", "why"):
        table.add_column(column)
    for intention in intentions:
        verdict = Text("would run", "yellow") if intention.runs else Text("unchanged", "green")
        table.add_row(intention.stage, verdict, Text(intention.why.removeprefix("unchanged: ")))
    console().print(table)
