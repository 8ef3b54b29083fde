"""`multimodal explain SAMPLE_ID`: the life of one row, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from flows.chosen import chosen_dataset
from flows.console import console, show_facts
from multimodal.dataset import Fate
from multimodal.lineage import Life, StoredLatents, Written, find_row, life_of
from multimodal.pairs.table import PairScore
from multimodal.sample import Sample

SHOWN = 6
"""So many ids are listed where there may be many."""


def show_life(query: str, conf: Path | None, workspace: Path | None, as_json: bool) -> None:
    """Find the row that is meant, and tell its life."""
    dataset = chosen_dataset(conf, workspace)
    life = life_of(dataset, find_row(dataset, query))
    if as_json:
        console().print_json(json.dumps(asdict(life), default=str))
    else:
        show_facts({name: text for name, text in lines(life) if text})


def lines(life: Life) -> Iterator[tuple[str, str]]:
    """Name and text of each fact, in the order of a row's life; "" where there is nothing to say."""
    row = life.row
    yield "row", f"{row.source}:{row.uri}"
    yield "source", life.source
    yield "dataset", life.dataset
    yield "fate", _fate(life)
    yield "media", life.media
    if life.sample is not None:
        yield from _sample_lines(life, life.sample)


def _fate(life: Life) -> str:
    row = life.row
    if row.fate is Fate.QUARANTINED:
        return f"quarantined: {row.reason}, {row.detail}"
    if row.fate is Fate.DUPLICATE:
        return f"duplicate of {row.duplicate_of}: {row.detail}. What follows is about that sample"
    return "kept: it passed all checks"


def _sample_lines(life: Life, sample: Sample) -> Iterator[tuple[str, str]]:
    yield "sample", f"{sample.sample_id}, {sample.task}"
    yield "text", sample.text
    yield from (life.further or {}).items()
    for name in ("input", "style", "hint", "speaker"):
        yield name, getattr(sample, name)
    yield "attributes", sample.attributes if sample.attributes != "{}" else ""
    yield "notes", "; ".join(life.notes)
    yield "repeated by", _some([f"{each.source}:{each.uri}" for each in life.repeated_by]) or "no row"
    yield "near duplicates", _some(life.clusters)
    yield "content", "; ".join(life.contents) or "none: infill conditions on its own text with a gap"
    yield "same content", _some(life.same_content)
    group = ", ".join(f"{count:,} {split}" for split, count in sorted((life.group or {}).items()))
    yield "group", f"{sample.group} ({group})"
    yield "split", f"{sample.split}: {life.split_origin}"
    for number, found in enumerate(life.latents, start=1):
        yield f"latents {number}", _latents(found)
    if not life.latents and life.contents:
        yield "latents", "none: no encoder of this workspace has seen it"
    for number, pair in enumerate(life.pairs, start=1):
        yield f"pair score {number}", _pair(pair)
    for number, written in enumerate(life.written, start=1):
        yield from _written_lines(f"model {number}", written)
    if not life.written:
        yield "models", "no stored evaluation holds a text for it"


def _latents(found: StoredLatents) -> str:
    who = f"{found.named or 'encoder'} {found.encoder}"
    if found.problem:
        return f"{who}: {found.problem}"
    reading = f', it reads "{found.reading}"' if found.reading else ""
    return f"{who}: {found.tokens} x {found.hidden_size} states, {found.num_bytes:,} bytes{reading}"


def _pair(pair: PairScore) -> str:
    if pair.score is None:
        return f"none by encoder {pair.encoder}: the content has no latents"
    rank = f"above {pair.share_below:.0%} of its task's and split's"
    fate = f"left out of what is learnt: {pair.why}" if pair.why else "it stays"
    return f"cosine {pair.score:.4f} by encoder {pair.encoder}, {rank}; {fate} (pairs/{pair.table})"


def _written_lines(name: str, written: Written) -> Iterator[tuple[str, str]]:
    who = ", ".join(written.versions) or "not registered"
    at = f", checkpoint {written.checkpoint}" if written.checkpoint else ""
    yield name, f"{who}{at}, evaluation {written.evaluation} of dataset {written.dataset}, {written.split} split"
    yield f"{name} wrote", f"{written.hypothesis}  ({written.nfe} denoiser calls)"
    yield f"{name} asked", " | ".join(written.references) if written.asked_as or len(written.references) > 1 else ""
    if written.score is not None:
        over_all = f" ({written.task_score:.4f} over the split)" if written.task_score is not None else ""
        yield f"{name} score", f"{written.metric} {written.score:.4f}{over_all}"


def _some(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
