"""The self-check: checks of the mathematics, as a table and as a page."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from flows.console import console, show_facts


def check_mathematics(folder: Path) -> bool:
    """Run all checks, show what they found, and write the page; whether all passed."""
    from multimodal.selfcheck import run_checks, write_page

    results = []
    with console().status("checking"):
        for result in run_checks():
            results.append(result)
    table = Table(title="Self-check", title_justify="left", show_lines=True)
    for column in ("check", "verdict", "found", "wanted"):
        table.add_column(column)
    table.add_column("s", justify="right")
    for result in results:
        finding = result.finding
        verdict = "[green]passed[/]" if finding.passed else "[bold red]FAILED[/]"
        table.add_row(result.check.name, verdict, finding.found, finding.wanted, f"{result.seconds:.1f}")
    console().print(table)
    show_facts({"page": str(write_page(folder, results))})
    return all(result.finding.passed for result in results)
