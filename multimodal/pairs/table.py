"""A dataset's pair scores, read again: columns for counting, a sample's own score, who was left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from multimodal.errors import DatasetError
from multimodal.fingerprint import INDEX, read_index
from multimodal.parts import part_paths

PAIRS, PART, LEDGER = "pairs", "part", "ledger"
"""Folder of a workspace, and how the names of the files begin."""

PAIR_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("sample_id", "content_id", "text_id", "task", "split", "encoder")]
    + [("score", pa.float32()), ("kept", pa.bool_())]
)


@dataclass(frozen=True, slots=True)
class PairScore:
    """What a table says of one sample.

    Args:
        table: name of the table's folder.
        encoder: fingerprint of the encoder that scored it.
        score: cosine, None where the content could not be encoded.
        share_below: of the scored pairs of its task and split, those that score lower.
        why: it was left out, "" where it stays.
    """

    table: str
    encoder: str
    score: float | None
    share_below: float
    why: str


def read_pairs(folder: Path, *columns: str) -> pa.Table:
    """Columns of a table of scores, in the order of the dataset's samples; all where none is named.

    Raises:
        DatasetError: the folder is absent or was not finished.
    """
    index_of(folder)
    names = list(columns) or PAIR_SCHEMA.names
    schema = pa.schema([PAIR_SCHEMA.field(name) for name in names])
    tables = [pq.read_table(path, columns=names) for path in part_paths(folder, PART)]
    return pa.concat_tables([schema.empty_table(), *tables])


def left_out_ids(folder: Path) -> frozenset[str]:
    """Samples that are not to be used.

    Raises:
        DatasetError: the folder is absent or was not finished.
    """
    table = read_pairs(folder, "sample_id", "kept")
    return frozenset(table.filter(pc.invert(table["kept"]))["sample_id"].to_pylist())


def left_out_rows(folder: Path) -> pa.Table:
    """The ledger of who was left out."""
    return pa.concat_tables([pq.read_table(path) for path in part_paths(folder, LEDGER)] or [pa.table({})])


def index_of(folder: Path) -> dict[str, Any]:
    """The index of a finished table.

    Raises:
        DatasetError: the folder is absent or was not finished.
    """
    index = read_index(folder)
    if index is None:
        raise DatasetError(f"no pair scores at {folder}; run the encode stage (`multimodal encode CONF`)")
    return index


def tables_of(workspace: Path, dataset: str) -> list[Path]:
    """The finished tables of a dataset, the newest last.

    Args:
        dataset: its fingerprint.
    """
    folders = [index.parent for index in workspace.glob(f"{PAIRS}/*/{INDEX}")]
    own = [folder for folder in folders if index_of(folder).get("parts", {}).get("dataset") == dataset]
    return sorted(own, key=lambda folder: ((folder / INDEX).stat().st_mtime, folder.name))


def scores_of(workspace: Path, dataset: str, sample_id: str) -> list[PairScore]:
    """What each table of a dataset says of one sample."""
    found = []
    for folder in tables_of(workspace, dataset):
        table = read_pairs(folder)
        for row in table.filter(pc.field("sample_id") == sample_id).to_pylist():
            same = table.filter((pc.field("task") == row["task"]) & (pc.field("split") == row["split"]))["score"]
            known = same.drop_null()
            below = pc.sum(pc.less(known, row["score"])).as_py() if row["score"] is not None and len(known) else 0
            found.append(
                PairScore(
                    folder.name, row["encoder"], row["score"], (below or 0) / max(1, len(known)),
                    "" if row["kept"] else _why(folder, sample_id),
                )
            )  # fmt: skip
    return found


def _why(folder: Path, sample_id: str) -> str:
    rows = left_out_rows(folder)
    return str(rows.filter(pc.field("sample_id") == sample_id)["detail"][0].as_py())
