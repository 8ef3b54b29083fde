"""`multimodal ledger ...`: what became of the input rows, as tables and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.table import Table
from rich.text import Text

from flows.chosen import chosen_dataset, chosen_pairs
from flows.console import console
from multimodal.dataset import DatasetInfo
from multimodal.ledger import LedgerCount, count_rows, find_rows
from multimodal.pairs.table import left_out_rows


def count_table(ledger: Path, left_out: pa.Table | None = None) -> list[dict[str, Any]]:
    """Rows of the table of counts, as the Prefect artifact and the terminal show them."""
    return [_plain(count) for count in count_rows(ledger, left_out)]


def show_summary(conf: Path | None, workspace: Path | None, as_json: bool) -> None:
    """Counts by source, fate and reason."""
    info = chosen_dataset(conf, workspace).info
    counts = count_table(info.ledger, _left_out(conf, info))
    if as_json:
        _print_json({"dataset": info.fingerprint, "rows": info.counts.rows, "counts": counts})
        return
    table = _table(f"Ledger of dataset {info.fingerprint}", ("source", "fate", "reason"))
    table.add_column("rows", justify="right")
    for count in counts:
        table.add_row(*(Text(str(count[name])) for name in ("source", "fate", "reason")), f"{count['rows']:,}")
    table.add_section()
    table.add_row("all", "", "", f"{info.counts.rows:,}")
    console().print(table)


def show_rows(
    conf: Path | None, workspace: Path | None, source: str, fate: str, reason: str, limit: int, as_json: bool
) -> None:
    """The rows that are asked for, with their URI and what was found."""
    info = chosen_dataset(conf, workspace).info
    left_out = _left_out(conf, info)
    rows, total = find_rows(info.ledger, source=source, fate=fate, reason=reason, limit=limit, left_out=left_out)
    if as_json:
        for row in rows:
            console().print(json.dumps(asdict(row), ensure_ascii=False), soft_wrap=True, markup=False, highlight=False)
        return
    table = _table(
        f"{len(rows):,} of {total:,} rows of dataset {info.fingerprint}", ("source", "uri", "fate or reason")
    )
    for name in ("detail", "sample id"):
        table.add_column(name, overflow="fold")
    for row in rows:
        texts = (row.source, row.uri, row.reason or row.fate, row.detail, row.sample_id)
        table.add_row(*(Text(str(text)) for text in texts))
    console().print(table)
    if len(rows) < total:
        console().print(f"{total - len(rows):,} more; --limit 0 shows all")


def _left_out(conf: Path | None, info: DatasetInfo) -> pa.Table | None:
    """Samples that pair scores leave out of the newest training on the dataset."""
    folder = chosen_pairs(conf, info)
    return left_out_rows(folder) if folder is not None else None


def _plain(count: LedgerCount) -> dict[str, Any]:
    return {"source": count.source, "fate": str(count.fate), "reason": count.reason, "rows": count.rows}


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _print_json(values: Any) -> None:
    console().print_json(json.dumps(values))
