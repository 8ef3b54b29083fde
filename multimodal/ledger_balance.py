"""The ledger's books: every row that a source has must have exactly one fate."""

from __future__ import annotations

from collections.abc import Mapping

from multimodal.errors import DatasetError


def check_balance(
    fates: Mapping[str, Mapping[str, int]], kept: Mapping[str, int], rows_in: Mapping[str, int] | None = None
) -> None:
    """Compare three counts that are made apart from each other, source by source.

    Args:
        fates: source -> fate -> rows of the ledger.
        kept: source -> samples written.
        rows_in: source -> rows that its reader gives; None leaves that uncompared.

    Raises:
        DatasetError: a source has rows without a fate, or fates without a row or a sample; it is named.
    """
    for source in sorted({*fates, *kept, *(rows_in or {})}):
        own = fates.get(source, {})
        counted = " + ".join(f"{count} {fate}" for fate, count in own.items()) or "none"
        if rows_in is not None and sum(own.values()) != rows_in.get(source, 0):
            raise DatasetError(
                f"the ledger of source '{source}' does not balance: {rows_in.get(source, 0)} rows in, but {counted} in "
                "the ledger; if its files changed while they were read, ingest again, else report this as a bug"
            )
        if own.get("kept", 0) != kept.get(source, 0):
            raise DatasetError(
                f"the ledger of source '{source}' does not balance: {counted} in the ledger, but "
                f"{kept.get(source, 0)} samples were written; report this as a bug"
            )
