"""Predictions for many rows, by workers that each load the model for themselves.

Which rows are encoded and written together follows from their order alone, as in `Predictor.predict`, so that a text
does not depend on who wrote it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from multimodal.package import load_predictor
from multimodal.predictor import ROWS_AT_ONCE, Prediction, Row
from multimodal.runners import RunnerOptions, run
from multimodal.training.options import SamplerOptions


@dataclass(frozen=True, slots=True)
class PredictionWork:
    """How a worker predicts.

    Args:
        package: folder of the model, where every worker finds it.
        sampler: how texts are drawn.
        folder: that paths of rows are relative to.
        threads: of torch.
    """

    package: Path
    sampler: SamplerOptions
    folder: Path
    threads: int

    def __call__(self) -> Callable[[Sequence[Row]], list[Prediction]]:
        """Load the model, in the worker, and test it there.

        Raises:
            CheckpointError: the package is not there, damaged, or writes otherwise than it did when it was packed.
        """
        torch.set_num_threads(self.threads)
        if self.folder.is_dir():
            os.chdir(self.folder)
        predictor = load_predictor(self.package)
        return lambda rows: predictor.predict(rows, self.sampler)


def predict_with(
    runner: RunnerOptions, package: Path, rows: Sequence[Row], sampler: SamplerOptions
) -> list[Prediction]:
    """One prediction per row, in the rows' order: those of `Predictor.predict`.

    Args:
        runner: who does the work.
        package: folder of the model; it and the rows' files lie where every worker finds them.
        rows: any mixture of tasks.
        sampler: how texts are drawn.

    Raises:
        ConfigError, RunnerError: see `multimodal.runners.run`.
        CheckpointError: see `PredictionWork`.
    """
    work = PredictionWork(package.resolve(), sampler, Path.cwd(), runner.torch_threads)
    parts = [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)]
    found = dict(run(runner, work, parts))
    return [prediction for number in range(len(parts)) for prediction in found[number]]
