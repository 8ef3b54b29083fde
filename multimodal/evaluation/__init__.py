"""Evaluation: metrics with their controls, the sampled validation score, predictions and the report.

`metrics` lists what is measured for each task, `controls` what each score is compared with, `sampled` the score that
training stops by, `stage` puts them together and `report` draws the page. Names are loaded when they are first used,
so that reading a configuration (`multimodal.evaluation.options`) loads neither torch nor scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multimodal.evaluation.sampled import SampledScore, SampledScorer, sampled_score
    from multimodal.evaluation.score import CONTROLS, Score, TaskScore
    from multimodal.evaluation.stage import EvaluationReport, evaluate, plan_evaluate

_HOMES = {
    "CONTROLS": "score",
    "Score": "score",
    "TaskScore": "score",
    "SampledScore": "sampled",
    "SampledScorer": "sampled",
    "sampled_score": "sampled",
    "EvaluationReport": "stage",
    "evaluate": "stage",
    "plan_evaluate": "stage",
}

__all__ = [
    "CONTROLS",
    "EvaluationReport",
    "SampledScore",
    "SampledScorer",
    "Score",
    "TaskScore",
    "evaluate",
    "plan_evaluate",
    "sampled_score",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
