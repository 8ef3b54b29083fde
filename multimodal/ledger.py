"""What a ledger says: its rows counted by source, fate and reason, and those that somebody asks for.

Columns are read as Arrow, so that a ledger of a million rows answers at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from multimodal.dataset import Fate, LedgerRow
from multimodal.errors import DatasetError, RequestError
from multimodal.fingerprint import read_index

KEYS = ("source", "fate", "reason")
SAMPLE_ID = "sample_id"


@dataclass(frozen=True, slots=True)
class LedgerCount:
    """How many rows of one source had one fate for one reason ("" unless quarantined)."""

    source: str
    fate: Fate
    reason: str
    rows: int


def count_rows(ledger: Path, left_out: pa.Table | None = None) -> list[LedgerCount]:
    """All counts of a ledger: sources by name, fates as `Fate` orders them, the most frequent reasons first.

    Args:
        ledger: of an ingest.
        left_out: rows, of the samples that it kept, that were quarantined later (`multimodal.pairs`).

    Raises:
        DatasetError: the folder is absent or was not finished.
    """
    columns = KEYS if left_out is None else (*KEYS, SAMPLE_ID)
    rows = (_updated(table, left_out).select(KEYS) for table in _tables(ledger, columns))
    table = pa.concat_tables(rows).group_by(list(KEYS)).aggregate([([], "count_all")])
    order = list(Fate)
    counts = [
        LedgerCount(row["source"], Fate(row["fate"]), row["reason"], row["count_all"]) for row in table.to_pylist()
    ]
    return sorted(counts, key=lambda count: (count.source, order.index(count.fate), -count.rows, count.reason))


def find_rows(
    ledger: Path,
    *,
    source: str = "",
    fate: str = "",
    reason: str = "",
    limit: int = 0,
    left_out: pa.Table | None = None,
) -> tuple[list[LedgerRow], int]:
    """Rows of a ledger in the order of the sources, and how many there are in all.

    Args:
        source, fate, reason: what the rows must have; "" takes all.
        limit: how many rows at most; 0 gives all.
        left_out: as of `count_rows`.

    Raises:
        DatasetError: the folder is absent or was not finished.
        RequestError: no row of the ledger has that source, fate or reason.
    """
    wanted = {name: value for name, value in zip(KEYS, (source, fate, reason), strict=True) if value}
    _require_known(ledger, wanted, left_out)
    found: list[LedgerRow] = []
    total = 0
    for table in (_updated(each, left_out) for each in _tables(ledger)):
        for name, value in wanted.items():
            table = table.filter(pc.field(name) == value)
        total += len(table)
        room = max(0, limit - len(found)) if limit else len(table)
        found += ledger_rows(table.slice(0, room))
    return found, total


def rows_that_repeat(ledger: Path, sample_id: str) -> list[LedgerRow]:
    """The rows of a ledger that are duplicates of a sample."""
    found = (table.filter(pc.field("duplicate_of") == sample_id) for table in _tables(ledger))
    return [row for table in found for row in ledger_rows(table)]


def ledger_rows(table: pa.Table) -> list[LedgerRow]:
    """The rows of a ledger's table."""
    return [LedgerRow(**row | {"fate": Fate(row["fate"])}) for row in table.to_pylist()]


def _updated(table: pa.Table, left_out: pa.Table | None) -> pa.Table:
    """The same rows with the fates that kept samples were given later."""
    if left_out is None or not len(left_out):
        return table
    place = pc.index_in(table[SAMPLE_ID], left_out[SAMPLE_ID].combine_chunks())
    changed = pc.and_(pc.is_valid(place), pc.equal(table["fate"], Fate.KEPT.value))
    for name in ("fate", "reason", "detail"):
        if name in table.column_names:
            values = pc.if_else(changed, pc.take(left_out[name].combine_chunks(), place), table[name])
            table = table.set_column(table.column_names.index(name), name, values)
    return table


def _require_known(ledger: Path, wanted: dict[str, str], left_out: pa.Table | None) -> None:
    counts = count_rows(ledger, left_out) if wanted else []
    problems = []
    for name, value in wanted.items():
        known = sorted({str(getattr(count, name)) for count in counts} - {""})
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known) or 'none'}"
            problems.append(f"no row of the ledger has the {name} '{value}'; {hint}")
    if problems:
        raise RequestError(". ".join(problems))


def _tables(ledger: Path, columns: Sequence[str] | None = None) -> Iterable[pa.Table]:
    if read_index(ledger) is None:
        raise DatasetError(f"no finished ledger at {ledger}; run the ingest stage (`multimodal ingest CONF`)")
    parts = sorted(ledger.glob("part-*.parquet"))
    return (pq.read_table(part, columns=list(columns) if columns else None) for part in parts)
