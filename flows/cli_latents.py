"""`multimodal latents ...`: their arguments; `flows.latents` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

latents = typer.Typer(help="List, verify and tidy the stored latents.", no_args_is_help=True)

Workspace = Annotated[Path, typer.Option(help="Folder that holds the datasets and their latents.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]

WORKSPACE = Path("workspace")


@latents.command("ls")
def list_latents(workspace: Workspace = WORKSPACE, as_json: AsJson = False) -> None:
    """List stores with what they hold, how exactly, who needs them and when they were last used."""
    from flows.latents import show_stores

    show_stores(workspace, as_json)


@latents.command("verify")
def verify_latents(
    encoders: Annotated[
        list[str] | None, typer.Argument(help="Fingerprints of encoders, or their beginnings; all by default.")
    ] = None,
    workspace: Workspace = WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Hash every shard again, compare it with its index, and name what differs (exit code 1)."""
    from flows.latents import verify_stores

    raise typer.Exit(0 if verify_stores(workspace, encoders or [], as_json) else 1)


@latents.command("gc")
def collect_garbage(
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    workspace: Workspace = WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """List stores, shards and leftovers that no dataset or model needs any more; with --yes, remove them."""
    from flows.latents import collect_garbage

    collect_garbage(workspace, yes, as_json)
