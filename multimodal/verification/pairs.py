"""Pair scores: files against their digests, and what the index counts against the rows."""

from __future__ import annotations

from multimodal.errors import DatasetError
from multimodal.fingerprint import INDEX, digest
from multimodal.pairs.table import left_out_ids, left_out_rows
from multimodal.verification.datasets import READ_ERRORS
from multimodal.verification.files import check_files, checked_index
from multimodal.verification.finding import Check


def check_pairs(check: Check) -> None:
    """Hash every file of a dataset's pair scores again; who is left out must stand in the ledger beside them."""
    index = checked_index(check)
    if index is None:
        return
    check_files(check, index)
    try:
        gone = left_out_ids(check.path)
        noted = left_out_rows(check.path)
    except (DatasetError, *READ_ERRORS) as error:
        check.differs(INDEX, f"its rows cannot be read: {str(error).splitlines()[0]}")
        return
    check.expect(INDEX, "samples left out", index.get("left_out"), digest(sorted(gone))[:16] if gone else "")
    in_ledger = set(noted["sample_id"].to_pylist()) if len(noted) else set()
    check.expect("ledger", "samples left out", sorted(gone), sorted(in_ledger))
