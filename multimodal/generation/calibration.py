"""What a model's own probabilities are worth, as found on the validation split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Calibration:
    """Turns the raw confidences of one task into shares of right words.

    A model without one says what its softmax says: temperature 1, slope 1, intercept 0.

    Args:
        temperature: of tokens, sigma(logit(p) / temperature): temperature scaling (Guo et al. 2017) of the binary
            question whether the written token is right.
        slope, intercept: of texts, sigma(slope * logit(p) + intercept): Platt scaling (Platt 1999) of the geometric
            mean of a text's token probabilities.
        trusted_from: the least confidence from which the val texts hold `TRUSTED` right words on average; above 1
            where no confidence does.
    """

    temperature: float = 1.0
    slope: float = 1.0
    intercept: float = 0.0
    trusted_from: float = 0.0

    def token(self, probability: float) -> float:
        """How likely a written token is right, 0 to 1; what is certain stays so (tokens that were given)."""
        return probability if probability >= 1 else float(sigmoid(logit(probability) / self.temperature))

    def text(self, score: float) -> float:
        """The share of a text's words that is expected to be right, 0 to 1."""
        return float(sigmoid(self.slope * logit(score) + self.intercept))

    def to_json(self) -> dict[str, float]:
        """JSON-ready."""
        return asdict(self)


TRUSTED = 0.9
"""Share of right words that a trusted text has on average."""


def read_calibrations(values: Mapping[str, Any]) -> dict[str, Calibration]:
    """Calibrations by task from a checkpoint's `config.json`, none where it was never calibrated."""
    return {task: Calibration(**found) for task, found in values.get("calibration", {}).items()}


def logit(p: Any) -> Any:
    """log(p / (1 - p)), finite for 0 and 1 too."""
    clipped = np.clip(p, TINY, 1 - TINY)
    return np.log(clipped / (1 - clipped))


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))
