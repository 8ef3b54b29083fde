"""SQLite files in the workspace that only remember: killed processes and torn files cost time, never a run."""

from __future__ import annotations

import sqlite3
from pathlib import Path

WAIT_SECONDS = 60
"""Another ingest may hold the file for so long."""


def open_database(path: Path, schema: str) -> sqlite3.Connection:
    """A connection for several threads; a file that is damaged is begun anew.

    Raises:
        sqlite3.OperationalError: the file cannot be opened, or another process holds it for too long.
    """
    try:
        return _connect(path, schema)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:  # not a database, or a torn one
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink(missing_ok=True)
        return _connect(path, schema)


def _connect(path: Path, schema: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS, check_same_thread=False)
    try:
        # With a write-ahead log a killed process loses its last answers, never the file.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if sound != "ok":  # torn pages would stop this run and every later one at the first look into them
            raise sqlite3.DatabaseError(sound)
        connection.executescript(schema)
    except BaseException:
        connection.close()
        raise
    return connection
