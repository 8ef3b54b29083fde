"""`multimodal models ...` and `multimodal rollback`: their arguments; `flows.models` does the work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

models = typer.Typer(help="List, compare, promote and tidy the registered models.", no_args_is_help=True)

Workspace = Annotated[Path, typer.Option(help="Folder that holds the runs and the registry.")]
Model = Annotated[str, typer.Option(help="The registered model: the configuration's name.")]
AnyModel = Annotated[str | None, typer.Option(help="Only this registered model; all by default.")]
Name = Annotated[str, typer.Argument(help="The registered model: the configuration's name.")]
Version = Annotated[str, typer.Argument(help="A version's number, or champion, or challenger.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]

SAMPLE_MODEL = "multimodal-sample"
WORKSPACE = Path("workspace")


@models.command("rollback")
def roll_back(name: Name, workspace: Workspace = WORKSPACE, as_json: AsJson = False) -> None:
    """Make the champion before the present one champion again."""
    _quiet(workspace)
    from flows.models import roll_back

    roll_back(workspace, name, as_json)


@models.command("ls")
def list_models(model: AnyModel = None, workspace: Workspace = WORKSPACE, as_json: AsJson = False) -> None:
    """List versions with aliases, val scores and the gate's verdicts."""
    _quiet(workspace)
    from flows.models import list_models

    list_models(workspace, model, as_json)


@models.command("show")
def show_model(
    version: Version = "champion",
    model: Model = SAMPLE_MODEL,
    workspace: Workspace = WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Show one version: the gate's verdicts, quality by steps, and its model card."""
    _quiet(workspace)
    from flows.models import show_model

    show_model(workspace, model, version, as_json)


@models.command("compare")
def compare_models(
    first: Version,
    second: Version,
    model: Model = SAMPLE_MODEL,
    workspace: Workspace = WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Compare the scores of two versions, by pairs of test samples where both have them."""
    _quiet(workspace)
    from flows.models import compare_models

    compare_models(workspace, model, first, second, as_json)


@models.command("diff")
def diff_models(
    first: Version,
    second: Version,
    model: Model = SAMPLE_MODEL,
    workspace: Workspace = WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Show what two versions were made from where it differs: configuration, data, encoders, code."""
    _quiet(workspace)
    from flows.models import diff_models

    diff_models(workspace, model, first, second, as_json)


@models.command("spread")
def spread_models(
    versions: Annotated[list[str], typer.Argument(help="Two or more versions, trained with different seeds.")],
    model: Model = SAMPLE_MODEL,
    workspace: Workspace = WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Mean and standard deviation of each score over versions that were trained with different seeds."""
    _quiet(workspace)
    from flows.models import spread_models

    spread_models(workspace, model, versions, as_json)


@models.command("promote")
def promote_model(
    version: Version, model: Model = SAMPLE_MODEL, workspace: Workspace = WORKSPACE, as_json: AsJson = False
) -> None:
    """Make a version champion by your own decision, whatever the gate said."""
    _quiet(workspace)
    from flows.models import promote_model

    promote_model(workspace, model, version, as_json)


@models.command("gc")
def collect_garbage(
    model: AnyModel = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    workspace: Workspace = WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """List versions that nothing needs any more; with --yes, remove them and their files."""
    _quiet(workspace)
    from flows.models import collect_garbage

    collect_garbage(workspace, model, yes, as_json)


def _quiet(workspace: Path) -> None:
    """No telemetry; and a workspace that is not there is said, not made."""
    from flows.server import prepare_environment
    from multimodal.errors import RegistryError

    if not workspace.is_dir() and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise RegistryError(f"no workspace at {workspace}: `multimodal run CONF` makes one, --workspace names another")
    prepare_environment(workspace)
