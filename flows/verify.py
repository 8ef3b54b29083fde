"""`multimodal verify PATH`: what was hashed again, and one line for each difference."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.table import Table
from rich.text import Text

from flows.console import console
from multimodal.verification import Verification, verify


def show_verification(path: Path, as_json: bool) -> bool:
    """Verify a folder or a workspace; whether all of it is as written."""
    return show_verified(str(path), list(verify(path)), as_json)


def show_verified(name: str, found: list[Verification], as_json: bool) -> bool:
    """Show what was verified; whether all of it is as written."""
    if as_json:
        console().print_json(json.dumps([asdict(one) | {"intact": one.is_intact} for one in found], default=str))
    else:
        _show(name, found)
    return all(one.is_intact for one in found)


def _show(name: str, found: list[Verification]) -> None:
    table = Table(title=f"Verified {name}", title_justify="left")
    for column in ("what", "folder"):
        table.add_column(column, overflow="fold")
    table.add_column("hashed", justify="right")
    table.add_column("verdict")
    for one in found:
        count = len(one.differences)
        verdict = ("intact", "green") if one.is_intact else (f"{count} difference{'s'[: count > 1]}", "bold red")
        table.add_row(one.kind, Text(one.path.name), f"{one.checked:,}", Text(*verdict))
    console().print(table)
    for note in dict.fromkeys(note for one in found for note in one.notes):
        console().print(Text(f"note: {note}", "dim"), soft_wrap=True)
    for one in found:
        for difference in one.differences:
            text = f"{one.kind} {one.path.name}: {difference.place}: {difference.what}"
            console().print(Text(text, "red"), soft_wrap=True)
