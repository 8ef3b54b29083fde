"""What checkpoints write for the test items, at every point of their curves; each point is written once and kept."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from multimodal.bench.contenders import Materials, Trained, model_code
from multimodal.evaluation.items import Item, build_items
from multimodal.evaluation.writing import Generator, Stores, answer, write_texts
from multimodal.fingerprint import fingerprint, write_json
from multimodal.sample import Split, Task
from multimodal.training.options import SamplerOptions


@dataclass(frozen=True, slots=True)
class Written:
    """What one checkpoint wrote for the items of one task at one point, in the items' order.

    Args:
        contender, seed: whose checkpoint.
        point: name of the sampler's setting.
        hypotheses: the texts that are scored; "" where the request was refused.
        nfe: calls of the decoder per text.
    """

    contender: str
    seed: int
    point: str
    task: Task
    hypotheses: tuple[str, ...]
    nfe: tuple[int, ...]


def items_to_write(materials: Materials, tasks: Mapping[Task, float], most: int | None) -> dict[Task, list[Item]]:
    """The first `most` test items of each task that is trained; tasks with fewer than two are left out."""
    stores = materials.stores
    found = {
        task: build_items(materials.dataset.samples(split=Split.TEST, task=task), most, stores.get(task.modality))
        for task in Task
        if tasks.get(task, 0) > 0 and (task is Task.INFILL or task.modality in stores)
    }
    return {task: items for task, items in found.items() if len(items) > 1}


def written_at(
    trained: Trained,
    points: Mapping[str, SamplerOptions],
    items: Mapping[Task, Sequence[Item]],
    stores: Stores,
    batch_size: int,
    folder: Path,
) -> list[Written]:
    """The texts of one checkpoint at every point, read from `folder` where they were written before."""
    written: list[Written] = []
    generator: Generator | None = None
    for point, sampler in points.items():
        parts = {
            "training": trained.result.fingerprint,
            "model": model_code(trained.model),
            "sampler": sampler.model_dump(mode="json"),
            "items": {str(task): [item.sample_id for item in of_task] for task, of_task in items.items()},
        }
        path = folder / f"{trained.contender}-{trained.seed}-{fingerprint(parts)}.json"
        if path.is_file():
            rows = json.loads(path.read_text())["texts"]
        else:
            generator = generator or trained.load()
            rows = _write(generator, sampler, items, stores, batch_size)
            write_json(path, {"parts": parts, "texts": rows})
        for task in items:
            row = rows[task]
            texts = (tuple(row["hypotheses"]), tuple(row["nfe"]))
            written.append(Written(trained.contender, trained.seed, point, task, *texts))
    return written


def _write(
    generator: Generator, sampler: SamplerOptions, items: Mapping[Task, Sequence[Item]], stores: Stores, batch_size: int
) -> dict[str, dict[str, list[str] | list[int]]]:
    rows: dict[str, dict[str, list[str] | list[int]]] = {}
    for task, of_task in items.items():
        generations = write_texts(generator, of_task, stores, sampler, batch_size)
        rows[str(task)] = {
            "hypotheses": [answer(*pair) for pair in zip(of_task, generations, strict=True)],
            "nfe": [generation.nfe if generation else 0 for generation in generations],
        }
    return rows


def by_point(written: Sequence[Written]) -> dict[tuple[str, str, Task], list[Written]]:
    """Texts of all seeds together, by contender, point and task."""
    groups: dict[tuple[str, str, Task], list[Written]] = defaultdict(list)
    for texts in written:
        groups[texts.contender, texts.point, texts.task].append(texts)
    return dict(groups)


def raw(written: Sequence[Written], items: Mapping[Task, Sequence[Item]]) -> dict[str, object]:
    """All items and texts as JSON values: every table can be made from them again."""
    return {
        "items": {str(task): [asdict(item) for item in of_task] for task, of_task in items.items()},
        "texts": [asdict(texts) for texts in written],
    }
