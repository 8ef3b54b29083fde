"""What ingest found of near duplicates and leaks, beside the ledger.

ledger/<fp>/duplicates.json        counts, what clusters moved, what of test is in train
ledger/<fp>/clusters-*.parquet     content id, modality and cluster of every content that has near duplicates
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from multimodal.errors import DatasetError
from multimodal.fingerprint import write_json
from multimodal.ingest.duplicates.clusters import Neighbours
from multimodal.ingest.duplicates.leaks import Contamination, Leak
from multimodal.parts import PartWriter

NAME = "duplicates.json"
CLUSTER_SCHEMA = pa.schema([(name, pa.string()) for name in ("content_id", "modality", "cluster")])
MOVED_NAMED = 20


@dataclass(frozen=True, slots=True)
class ClusterCounts:
    """Clusters of near duplicates in one modality: how many, of how many contents, and the largest one's."""

    clusters: int
    contents: int
    largest: int


@dataclass(frozen=True, slots=True)
class DuplicateReport:
    """What was found.

    Args:
        compared: contents that were compared nearly, by modality; exact repetitions are always found.
        clusters: of near duplicates, by modality.
        moved: contents whose cluster puts them into another split than their own group would.
        moved_first: the first of them.
        contamination: how much of test is in train.
    """

    compared: Mapping[str, int]
    clusters: Mapping[str, ClusterCounts]
    moved: int
    moved_first: tuple[str, ...]
    contamination: Contamination


def write_report(
    folder: Path, compared: Mapping[str, int], near: Neighbours, moved: Sequence[str], contamination: Contamination
) -> None:
    """Write the report and the clusters into the folder of a ledger."""
    sizes: defaultdict[str, list[int]] = defaultdict(list)
    writer = PartWriter(folder, "clusters", CLUSTER_SCHEMA)
    for cluster, content_ids in near.clusters().items():
        modality = near.modality(cluster).value
        sizes[modality].append(len(content_ids))
        for content_id in content_ids:
            writer.add((content_id, modality, cluster))
    writer.close()
    counts = {name: ClusterCounts(len(each), sum(each), max(each)) for name, each in sorted(sizes.items())}
    report = DuplicateReport(compared, counts, len(moved), tuple(moved[:MOVED_NAMED]), contamination)
    write_json(folder / NAME, asdict(report))


def read_report(ledger: Path) -> DuplicateReport:
    """The report beside a ledger.

    Raises:
        DatasetError: there is none.
    """
    values = _json(ledger)
    leaks = values["contamination"]
    pairs = tuple(Leak(**pair) for pair in leaks["pairs"])
    clusters = {name: ClusterCounts(**counts) for name, counts in values["clusters"].items()}
    contamination = Contamination(**leaks | {"pairs": pairs})
    moved = tuple(values["moved_first"])
    return DuplicateReport(**values | {"clusters": clusters, "moved_first": moved, "contamination": contamination})


def read_clusters(ledger: Path) -> dict[str, str]:
    """Content id -> cluster (its smallest content id), of all contents that have near duplicates."""
    tables = (pq.read_table(part) for part in sorted(ledger.glob("clusters-*.parquet")))
    return {row["content_id"]: row["cluster"] for table in tables for row in table.to_pylist()}


def _json(ledger: Path) -> dict[str, Any]:
    path = ledger / NAME
    if not path.is_file():
        raise DatasetError(f"no report on duplicates at {path}; run the ingest stage (`multimodal ingest CONF`)")
    values: dict[str, Any] = json.loads(path.read_text())
    return values
