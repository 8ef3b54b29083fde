"""A comparison in order: train, write, time, score, judge, report. What is done is found again by the same command."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from multimodal.bench.contenders import Materials, Trained, model_code, train_contender
from multimodal.bench.options import BenchOptions
from multimodal.bench.results import Results, write_results
from multimodal.bench.scores import score_points
from multimodal.bench.speed import Speed, measure_speed
from multimodal.bench.texts import Written, items_to_write, written_at
from multimodal.bench.verdicts import Comparison, judge
from multimodal.errors import ConfigError
from multimodal.evaluation.items import Item
from multimodal.fingerprint import code_version, fingerprint, write_json
from multimodal.sample import Task

Progress = Callable[[str, int, int], None]
"""(what is done, done, in all)."""


@dataclass(frozen=True)
class Bench:
    """One comparison.

    Args:
        options: what is compared.
        materials: what all contenders share.
        progress: told how far it is.
    """

    options: BenchOptions
    materials: Materials
    progress: Progress = lambda what, done, total: None

    @property
    def folder(self) -> Path:
        """What the comparison leaves."""
        return self.materials.workspace / "bench" / self.options.name

    def run(self) -> Results:
        """Train what is not trained, write what is not written, time what is not timed; then score and report."""
        trained = [self._train(name, seed) for name in self.options.competing for seed in self.options.seeds]
        weights = self.options.config_of(self.options.subject, self.options.seeds[0]).train.tasks
        items = items_to_write(self.materials, weights, self.options.max_samples)
        if not items:
            raise ConfigError("no task has two samples in the test split; raise `ingest.splits.test` of the base")
        written = self._write(trained, items)
        speed = self._time(trained, items)
        self.progress("score", 0, 1)
        scores = score_points(written, items, self.options.resamples)
        comparison = Comparison(self.options, scores, speed)
        results = Results(self.folder, comparison, tuple(trained), tuple(judge(comparison)))
        write_results(results, written, items)
        self.progress("score", 1, 1)
        return results

    def _train(self, name: str, seed: int) -> Trained:
        def progress(done: int, total: int) -> None:
            self.progress(f"train {name}, seed {seed}", done, total)

        return train_contender(self.options, name, seed, self.materials, progress)

    def _write(self, trained: Sequence[Trained], items: Mapping[Task, Sequence[Item]]) -> list[Written]:
        written: list[Written] = []
        for number, one in enumerate(trained):
            self.progress("write", number, len(trained))
            points = self.options.points_of(one.contender)
            folder, batch_size = self.folder / "texts", self.options.batch_size
            written += written_at(one, points, items, self.materials.stores, batch_size, folder)
        self.progress("write", len(trained), len(trained))
        return written

    def _time(self, trained: Sequence[Trained], items: Mapping[Task, Sequence[Item]]) -> Speed:
        first = [one for one in trained if one.seed == self.options.seeds[0]]
        parts = self._parts_of_time(first, items)
        path = self.folder / "speed" / f"{fingerprint(parts)}.json"
        if not path.is_file():
            self.progress("time", 0, 1)
            write_json(
                path, {"parts": parts, "speed": asdict(measure_speed(self.options, first, items, self.materials))}
            )
            self.progress("time", 1, 1)
        return TypeAdapter(Speed).validate_python(json.loads(path.read_text())["speed"])

    def _parts_of_time(self, trained: Sequence[Trained], items: Mapping[Task, Sequence[Item]]) -> dict[str, Any]:
        """What the measured times depend on, but for the machine."""
        timing = self.options.timing
        points = {one.contender: self.options.points_of(one.contender) for one in trained}
        return {
            "trainings": {one.contender: one.result.fingerprint for one in trained},
            "points": {name: {p: o.model_dump(mode="json") for p, o in of.items()} for name, of in points.items()},
            "items": {str(task): [item.sample_id for item in of[: timing.samples]] for task, of in items.items()},
            "timing": timing.model_dump(mode="json"),
            "models": {one.contender: model_code(one.model) for one in trained},
            "code": code_version("bench/speed.py"),
        }
