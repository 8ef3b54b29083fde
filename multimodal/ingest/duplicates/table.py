"""The report on duplicates as rows of the ingest stage's table."""

from __future__ import annotations

from pathlib import Path


def duplicates_table(ledger: Path) -> list[dict[str, object]]:
    """Rows (what, name, samples) of what was looked for; `multimodal.ingest.duplicates.report` explains the counts.

    Raises:
        DatasetError: no report is beside the ledger.
    """
    from multimodal.ingest.duplicates.report import read_report

    report = read_report(ledger)
    rows = [("near duplicates", name, counts.contents) for name, counts in report.clusters.items()]
    rows += [("moved", "by clusters", report.moved)] if report.moved else []
    rows += [("test in train", "all", report.contamination.leaked)]
    across = report.contamination.across_tasks
    rows += [("test in train", "by other tasks", across)] if across else []
    return [{"what": what, "name": name, "samples": count} for what, name, count in rows]
