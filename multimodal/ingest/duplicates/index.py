"""Fingerprints on disk, by content id: what is known is not computed again, in this run or in any later one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

from multimodal.ingest.databases import open_database
from multimodal.ingest.duplicates.fingerprint import Fingerprint
from multimodal.sample import Modality

ROWS_PER_WRITE = 256
IDS_PER_QUERY = 500
SCHEMA = """
CREATE TABLE IF NOT EXISTS fingerprints (
    modality TEXT NOT NULL, content_id TEXT NOT NULL, version TEXT NOT NULL,
    key BLOB NOT NULL, proof BLOB NOT NULL, decoded BLOB NOT NULL,
    PRIMARY KEY (modality, version, content_id)
)
"""


class FingerprintIndex:
    """One SQLite file that several ingests may use at once; close it, or what was put last is lost (and made again).

    A fingerprint is a function of the content and of the version of the code: it does not matter who wrote it.
    Contents that no source holds any more, and earlier versions, stay in it; deleting the file costs nothing but the
    time to make it anew.
    """

    def __init__(self, path: Path) -> None:
        self._database = open_database(path, SCHEMA)
        self._lock = Lock()
        self._new: list[tuple[str, str, str, bytes, bytes, bytes]] = []

    def held(self, modality: Modality, version: str, content_ids: Sequence[str]) -> set[str]:
        """Those of some contents whose fingerprint is there, made by this version; any thread may ask."""
        marks = ", ".join("?" * len(content_ids))
        where = f"modality = ? AND version = ? AND content_id IN ({marks})"
        query = f"SELECT content_id FROM fingerprints WHERE {where}"
        with self._lock:
            rows = self._database.execute(query, (modality.value, version, *content_ids)).fetchall()
        return {content_id for (content_id,) in rows}

    def put(self, modality: Modality, content_id: str, version: str, found: Fingerprint) -> None:
        """Add a fingerprint."""
        self._new.append((modality.value, content_id, version, found.key, found.proof, found.decoded))
        if len(self._new) >= ROWS_PER_WRITE:
            self.flush()

    def flush(self) -> None:
        """Write what was put; other processes see it from now on."""
        with self._lock, self._database:
            self._database.executemany("INSERT OR REPLACE INTO fingerprints VALUES (?, ?, ?, ?, ?, ?)", self._new)
        self._new = []

    def keys(self, modality: Modality, version: str) -> Iterator[tuple[str, bytes]]:
        """Content id and key of all contents of a modality, by content id."""
        query = "SELECT content_id, key FROM fingerprints WHERE modality = ? AND version = ? ORDER BY content_id"
        yield from self._database.execute(query, (modality.value, version))

    def proofs(self, modality: Modality, version: str, content_ids: Sequence[str]) -> dict[str, tuple[bytes, bytes]]:
        """Content id -> proof and digest of the decoded content."""
        found: dict[str, tuple[bytes, bytes]] = {}
        for start in range(0, len(content_ids), IDS_PER_QUERY):
            some = content_ids[start : start + IDS_PER_QUERY]
            marks = ", ".join("?" * len(some))
            where = f"modality = ? AND version = ? AND content_id IN ({marks})"
            query = f"SELECT content_id, proof, decoded FROM fingerprints WHERE {where}"
            for content_id, proof, decoded in self._database.execute(query, (modality.value, version, *some)):
                found[content_id] = (proof, decoded)
        return found

    def close(self) -> None:
        """Write what was put and close the file."""
        self.flush()
        self._database.close()
