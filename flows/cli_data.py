"""`multimodal ledger ...`, `explain` and `verify`: their arguments; the files of their names do the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ledger = typer.Typer(help="Ask what became of the input rows.", no_args_is_help=True)

Conf = Annotated[Path | None, typer.Argument(help="A configuration: its pipeline's newest dataset.")]
Workspace = Annotated[
    Path | None, typer.Option(help="A workspace: its newest dataset. By default the configuration's, or `workspace`.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]


@ledger.command("summary")
def ledger_summary(conf: Conf = None, workspace: Workspace = None, as_json: AsJson = False) -> None:
    """Count rows by source, fate and reason."""
    from flows.ledger import show_summary

    show_summary(conf, workspace, as_json)


@ledger.command("list")
def ledger_list(
    conf: Conf = None,
    reason: Annotated[str, typer.Option(help="Only rows quarantined for this reason.")] = "",
    source: Annotated[str, typer.Option(help="Only rows of this source.")] = "",
    fate: Annotated[str, typer.Option(help="Only kept, quarantined or duplicate rows.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many rows; 0 shows all.", min=0)] = 50,
    workspace: Workspace = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List rows with their URI, what was found, and the sample that they became."""
    from flows.ledger import show_rows

    show_rows(conf, workspace, source, fate, reason, limit, as_json)


def explain(
    sample: Annotated[str, typer.Argument(help="A sample id or its beginning, a source URI, or a media file.")],
    conf: Conf = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Tell the life of one row: source, checks, duplicates, split, latents, predictions and scores."""
    from flows.explain import show_life

    show_life(sample, conf, workspace, as_json)


def verify(
    path: Annotated[Path, typer.Argument(help="A dataset, ledger, latents, checkpoint, package, report or workspace.")],
    as_json: AsJson = False,
) -> None:
    """Hash again everything that a fingerprint stands for, and name what differs (exit code 1)."""
    from flows.verify import show_verification

    raise typer.Exit(0 if show_verification(path, as_json) else 1)
