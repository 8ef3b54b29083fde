"""Scores that were computed before: by encoder, content and text, whichever dataset asked."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from multimodal.fingerprint import write_file

_KEYS = ["content_id", "text_id"]
_SCHEMA = pa.schema([("content_id", pa.string()), ("text_id", pa.string()), ("score", pa.float32())])

Scores = NDArray[np.float32]


class KnownScores:
    """The scores of one encoder on disk; several processes may add to it.

    Args:
        folder: of the encoder; made when the first scores are added.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def look_up(self, content_ids: Sequence[str], text_ids: Sequence[str]) -> Scores:
        """The score of each pair, float32 [pairs], NaN where it is not known."""
        found = np.full(len(content_ids), np.nan, dtype=np.float32)
        files = sorted(self.folder.glob("scores-*.parquet"))
        if not files or not len(content_ids):
            return found
        known = pa.concat_tables([pq.read_table(file, schema=_SCHEMA) for file in files])
        known = known.group_by(_KEYS).aggregate([("score", "min")])  # two processes may have scored the same pair
        asked = pa.table({"content_id": content_ids, "text_id": text_ids, "row": np.arange(len(content_ids))})
        joined = asked.join(known, _KEYS, join_type="inner")
        found[joined["row"].to_numpy()] = joined["score_min"].to_numpy()
        return found

    def add(self, content_ids: Sequence[str], text_ids: Sequence[str], scores: Scores) -> None:
        """Add scores that were not known."""
        table = pa.table([pa.array(content_ids), pa.array(text_ids), pa.array(scores)], schema=_SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        write_file(self.folder / f"scores-{uuid.uuid4().hex[:12]}.parquet", sink.getvalue().to_pybytes())
