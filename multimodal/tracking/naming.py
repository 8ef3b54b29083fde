"""Configurations and scores under the names that they have in MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multimodal.evaluation.score import TaskScore


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings and lists as `a.b.0 -> text`; empty ones stay visible as `{}` or `[]`."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, list | tuple) and value:
            value = dict(enumerate(value))
        if isinstance(value, Mapping) and value:
            flat |= flatten({str(inner): item for inner, item in value.items()}, f"{name}.")
        else:
            flat[name] = str(value)
    return flat


def score_metrics(scores: Sequence[TaskScore], split: str) -> dict[str, float]:
    """Scores and their controls under the names that dashboards use: `test/caption/cider_d`, `.../shuffled`."""
    from multimodal.evaluation.score import CONTROLS  # its package loads torch, which tracking does without

    metrics: dict[str, float] = {}
    for score in scores:
        name = f"{split}/{score.task}/{score.metric}"
        controls = {f"{name}/{control}": getattr(score, control) for control in CONTROLS}
        metrics |= {name: score.value, **{key: value for key, value in controls.items() if value is not None}}
    return metrics
