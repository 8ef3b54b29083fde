"""`multimodal latents ...`: the stores of a workspace, as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from flows.console import console
from flows.verify import show_verified
from multimodal.errors import DatasetError
from multimodal.latents import ErrorBound
from multimodal.upkeep import GarbageList, StoreSummary, find_garbage, list_stores, remove_garbage
from multimodal.upkeep.stores import store_folders
from multimodal.verification import verify

SHOWN = 3
"""Datasets and packages that are named in the table; the JSON names all."""


def show_stores(workspace: Path, as_json: bool) -> None:
    """The stores with their encoders, contents, error bounds, and the datasets that need them."""
    stores = list_stores(_existing(workspace))
    if as_json:
        console().print_json(json.dumps([asdict(store) for store in stores]))
        return
    if not stores:
        console().print(f"no latents in {workspace}: `multimodal encode CONF` makes them")
        return
    table = Table(title=f"Latents of {workspace}", title_justify="left")
    for name in ("encoder", "what it is", "storage"):
        table.add_column(name, overflow="fold", no_wrap=name == "encoder")
    for name in ("contents", "failed", "MB", "L2 error"):
        table.add_column(name, justify="right")
    for name in ("needed by", "last use"):
        table.add_column(name, overflow="fold", no_wrap=True)
    for store in stores:
        table.add_row(*_cells(store))
    console().print(table)
    for store in stores:
        if store.problem:
            console().print(Text(f"{store.encoder}: {store.problem}", "red"), soft_wrap=True)


def verify_stores(workspace: Path, encoders: Sequence[str], as_json: bool) -> bool:
    """Verify stores; whether all that they hold is as written.

    Raises:
        DatasetError: there is no store of that name, or none at all.
    """
    folders = store_folders(_existing(workspace))
    wanted = [folder for folder in folders if not encoders or folder.name.startswith(tuple(encoders))]
    unknown = [name for name in encoders if not any(folder.name.startswith(name) for folder in folders)]
    if unknown or not wanted:
        known = ", ".join(folder.name for folder in folders) or "none: `multimodal encode CONF` makes them"
        raise DatasetError(f"no latents {', '.join(unknown)} in {workspace}; there are {known}")
    return show_verified(f"latents of {workspace}", [one for folder in wanted for one in verify(folder)], as_json)


def collect_garbage(workspace: Path, yes: bool, as_json: bool) -> None:
    """List what nothing needs, and remove it with `yes`."""
    listed = (remove_garbage if yes else find_garbage)(_existing(workspace))
    if as_json:
        rows = [asdict(one) | {"path": str(one.path)} for one in listed.found]
        console().print_json(json.dumps({"removed": yes, "found": rows, "skipped": listed.skipped}))
        return
    _show_garbage(workspace, listed, "Removed" if yes else "Would be removed")
    if listed.found and not yes:
        console().print("What a dataset or a model package of the workspace needs stays. Remove with --yes.")


def _show_garbage(workspace: Path, listed: GarbageList, title: str) -> None:
    for name, reason in listed.skipped.items():
        console().print(Text(f"left alone: {name}: {reason}", "yellow"), soft_wrap=True)
    if not listed.found:
        console().print("nothing to remove")
        return
    table = Table(title=f"{title}: {listed.num_bytes / 1e6:,.1f} MB", title_justify="left")
    for name in ("what", "where", "why"):
        table.add_column(name, overflow="fold")
    table.add_column("MB", justify="right")
    for one in listed.found:
        where = one.path.relative_to(workspace).as_posix()
        table.add_row(one.what, Text(where), Text(one.why), f"{one.num_bytes / 1e6:,.1f}")
    console().print(table)


def _cells(store: StoreSummary) -> list[Text]:
    needed = [*_some("dataset", store.datasets), *_some("package", store.packages)]
    last_use = datetime.fromtimestamp(store.last_use).strftime("%Y-%m-%d")
    values = (
        store.encoder,
        _named(store),
        store.storage or "damaged",
        f"{store.contents:,}",
        f"{store.failed:,}",
        f"{store.num_bytes / 1e6:,.1f}",
        _bound(store.error_bound),
        "\n".join(needed) or "nothing",
        "now" if store.being_written else last_use,
    )
    return [Text(value, "red" if store.problem else "") for value in values]


def _named(store: StoreSummary) -> str:
    """The encoder by name, and what it states: hashes by their first digits, the JSON has all of them."""
    card = store.card
    if not card:
        return store.named
    hashes = f"weights {card['weights'][:12]}, preprocessing {card['preprocessing'][:12]}"
    return "\n".join(part for part in (store.named, f"{card['hidden_size']} wide, {card['tokens']}", hashes) if part)


def _some(kind: str, names: Sequence[str]) -> list[str]:
    """The first names; a workspace that ingests every night has hundreds."""
    shown = [f"{kind} {name[:8]}" for name in names[:SHOWN]]
    return shown + ([f"{len(names) - SHOWN:,} more {kind}s"] if len(names) > SHOWN else [])


def _bound(bound: ErrorBound | None) -> str:
    return "not measured" if bound is None else f"{bound.absolute_l2:.2g} ({bound.relative_l2:.2%})"


def _existing(workspace: Path) -> Path:
    if not workspace.is_dir():
        raise DatasetError(f"no workspace at {workspace}: `multimodal run CONF` makes one, --workspace names another")
    return workspace
