"""The ledger's row that somebody means by an id or its beginning, a URI, or a media file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rapidfuzz import fuzz, process

from multimodal.dataset import Dataset, Fate, LedgerRow
from multimodal.errors import RequestError
from multimodal.fingerprint import read_index
from multimodal.ingest.retrace import options_of, rows_with_media
from multimodal.ledger import ledger_rows
from multimodal.sample import content_digest

NAMED = 6
"""So many rows are named where several are meant, and so many near matches where none is."""


def find_row(dataset: Dataset, query: str) -> LedgerRow:
    """The one row of a dataset's ledger that is meant.

    Args:
        query: a sample id or its beginning; a row's URI, with or without its source (`source uri`, `source:uri`); the
            file in a URI; a media file on disk, known by its content; or the path or name of a media file in a source.

    Raises:
        RequestError: no row is meant, or several are; the message names near matches, or those several.
    """
    ledger = pa.concat_tables(pq.read_table(part) for part in sorted(dataset.info.ledger.glob("part-*.parquet")))
    rows = _by_id(ledger, query) or _by_uri(ledger, query)
    rows = rows or _by_bytes(dataset, ledger, query) or _by_media_name(dataset, ledger, query)
    if not rows:
        raise RequestError(f"no row of dataset {dataset.path.name} is '{query}'; {_near(ledger, query)}")
    if len(rows) > 1:
        named = "; ".join(_name(row) for row in rows[:NAMED]) + ("; ..." if len(rows) > NAMED else "")
        raise RequestError(f"'{query}' is {len(rows)} rows, name one by its id or URI: {named}")
    return rows[0]


def _by_id(ledger: pa.Table, query: str) -> list[LedgerRow]:
    """One row per sample: the kept one, of which duplicates bear the same id."""
    if not query or set(query) - set("0123456789abcdef"):
        return []
    by_id: dict[str, LedgerRow] = {}
    for row in ledger_rows(ledger.filter(pc.starts_with(ledger["sample_id"], query))):
        known = by_id.setdefault(row.sample_id, row)
        if known.fate is not Fate.KEPT and row.fate is Fate.KEPT:
            by_id[row.sample_id] = row
    return list(by_id.values())


def _by_uri(ledger: pa.Table, query: str) -> list[LedgerRow]:
    exact = ledger.filter(pc.equal(ledger["uri"], query))
    if not len(exact):
        for mark in (" ", ":"):
            source, _, uri = query.partition(mark)
            exact = exact if len(exact) else ledger.filter((pc.field("source") == source) & (pc.field("uri") == uri))
    if not len(exact):  # the file of a URI, whole or by its name
        file = pc.replace_substring_regex(ledger["uri"], r"#[^#]*$", "")
        exact = ledger.filter(pc.ends_with(pc.binary_join_element_wise("/", file, ""), f"/{query}"))
    return ledger_rows(exact)


def _by_bytes(dataset: Dataset, ledger: pa.Table, query: str) -> list[LedgerRow]:
    path = Path(query)
    if not path.is_file():
        return []
    content_id = content_digest(path.read_bytes())
    ids = [sample.sample_id for sample in dataset.samples() if content_id in (sample.content_id, sample.picture)]
    kept = (pc.field("fate") == Fate.KEPT.value) & pc.field("sample_id").isin(ids)
    return ledger_rows(ledger.filter(kept)) if ids else []


def _by_media_name(dataset: Dataset, ledger: pa.Table, query: str) -> list[LedgerRow]:
    """Manifests name media in their rows, which the ledger does not keep: the sources are read again."""
    options = options_of(read_index(dataset.path) or {})
    found = list(rows_with_media(options, query)) if options else []
    wanted = {(row.source, row.uri) for row in found}
    uris = pc.field("uri").isin(sorted(uri for _, uri in wanted))
    return [row for row in ledger_rows(ledger.filter(uris)) if (row.source, row.uri) in wanted] if wanted else []


def _near(ledger: pa.Table, query: str) -> str:
    """The most similar ids and URIs."""
    known = [name for column in ("sample_id", "uri") for name in pc.unique(ledger[column]).to_pylist() if name]
    matches = process.extract(query, known, scorer=fuzz.ratio, limit=NAMED // 2)
    return "the nearest are " + ", ".join(name for name, *_ in matches) if matches else "its ledger is empty"


def _name(row: LedgerRow) -> str:
    return f"{row.sample_id or row.reason} {row.source}:{row.uri}"
