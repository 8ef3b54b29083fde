"""Who stays, and the table and ledger that say so."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from multimodal.dataset import LEDGER_SCHEMA, Fate, LedgerRow, ledger_values
from multimodal.fingerprint import digest, file_digests, new_folder, write_index
from multimodal.pairs.known import Scores
from multimodal.pairs.options import KeepOptions, PairOptions
from multimodal.pairs.scoring import ScoredSamples
from multimodal.pairs.table import LEDGER, PAIR_SCHEMA, PART
from multimodal.parts import PartWriter
from multimodal.sample import Modality, Sample


class PairReason(StrEnum):
    """Why a sample that ingest kept is left out; the ledger's `detail` says its score and what it falls below."""

    LOW_ALIGNMENT = "low_alignment"


@dataclass(frozen=True, slots=True)
class PairCount:
    """The pairs of one task and split.

    Args:
        encoder: fingerprint of the encoder that scored them.
        pairs, scored, left_out: counts.
        mean: of the scores.
        threshold: the lowest score that stays, None where nothing is filtered.
    """

    task: str
    split: str
    encoder: str
    pairs: int
    scored: int
    left_out: int
    mean: float
    threshold: float | None


def write_pairs(
    folder: Path,
    scored: Mapping[Modality, ScoredSamples],
    encoders: Mapping[Modality, str],
    options: PairOptions,
    parts: Mapping[str, Any],
) -> list[PairCount]:
    """Decide which pairs stay, and write a dataset's table of scores with its ledger.

    Args:
        folder: appears when all of it is written.
        scored: by modality.
        encoders: fingerprints of those that scored.
        options: which pairs stay.
        parts: of the folder's fingerprint; `dataset` among them.
    """
    left_out: list[str] = []
    counts: list[PairCount] = []
    with new_folder(folder) as new:
        table, ledger = PartWriter(new, PART, PAIR_SCHEMA), PartWriter(new, LEDGER, LEDGER_SCHEMA)
        for modality, found in scored.items():
            reasons = ["" for _ in found.samples]
            for (task, split), rows in _by_task_and_split(found.samples).items():
                keep = options.keep.get(task) if split in options.splits else None
                threshold = _decide(found, rows, keep, reasons) if keep is not None else None
                counts.append(_count(found, rows, reasons, encoders[modality], threshold))
            for sample, text_id, score, why in zip(found.samples, found.text_ids, found.scores, reasons, strict=True):
                value = None if math.isnan(score) else float(score)
                names = (sample.sample_id, sample.content_id, text_id, str(sample.task), str(sample.split))
                table.add((*names, encoders[modality], value, not why))
                if why:
                    left_out.append(sample.sample_id)
                    row = LedgerRow(
                        sample.source, sample.uri, Fate.QUARANTINED, PairReason.LOW_ALIGNMENT, why, sample.sample_id
                    )
                    ledger.add(ledger_values(row))
        table.close()
        ledger.close()
        index = {"parts": dict(parts), "pairs": table.count, "counts": [asdict(count) for count in counts]}
        index |= {"left_out": digest(sorted(left_out))[:16] if left_out else "", "files": file_digests(new)}
        write_index(new, index)
    return counts


def _by_task_and_split(samples: Sequence[Sample]) -> dict[tuple[Any, Any], list[int]]:
    rows: dict[tuple[Any, Any], list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        rows[sample.task, sample.split].append(row)
    return dict(sorted(rows.items()))


def _decide(found: ScoredSamples, rows: Sequence[int], keep: KeepOptions, reasons: list[str]) -> float | None:
    """Note why rows are left out; returns the lowest score that stays. What has no score is nobody's to refuse."""
    scores = found.scores
    known = [row for row in rows if not math.isnan(scores[row])]
    ranked = sorted(known, key=lambda row: (-scores[row], found.samples[row].sample_id))
    most = len(ranked) if keep.keep_top_fraction is None else math.ceil(keep.keep_top_fraction * len(ranked))
    staying = None
    for rank, row in enumerate(ranked):
        why = "; ".join(_problems(float(scores[row]), rank, most, keep))
        if why:
            reasons[row] = f"the text's cosine with its content is {scores[row]:.4f}: {why}"
        else:
            staying = float(scores[row])
    return staying


def _problems(score: float, rank: int, most: int, keep: KeepOptions) -> Iterator[str]:
    if keep.min_score is not None and score < np.float32(keep.min_score):
        yield f"min_score is {keep.min_score:g}"
    if rank >= most:
        yield f"{most:,} pairs score higher, which are the keep_top_fraction of {keep.keep_top_fraction:g}"


def _count(
    found: ScoredSamples, rows: Sequence[int], reasons: Sequence[str], encoder: str, threshold: float | None
) -> PairCount:
    scores: Scores = found.scores[list(rows)]
    known = scores[~np.isnan(scores)]
    first = found.samples[rows[0]]
    return PairCount(
        str(first.task), str(first.split), encoder, len(rows), len(known), sum(bool(reasons[row]) for row in rows),
        float(known.mean()) if len(known) else 0.0, threshold,
    )  # fmt: skip
