"""The metrics of each task, one small class each, found in one table.

The first rows of a task are what a model is judged by; rows that no control has to be beaten in (`must_beat` empty)
say more about how it writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multimodal.evaluation import style
from multimodal.evaluation.items import Item
from multimodal.evaluation.java_metrics import meteor_unavailable
from multimodal.evaluation.metrics.base import Metric
from multimodal.evaluation.metrics.caption import (
    Bleu1,
    Bleu2,
    Bleu3,
    Bleu4,
    CaptionMetric,
    CiderD,
    Meteor,
    RougeL,
    SceneColours,
    SceneExact,
    SceneMetric,
    SceneObjects,
    SceneRelations,
    SceneSizes,
)
from multimodal.evaluation.metrics.diagnostic import (
    CalibrationError,
    CopyRate,
    Diagnostic,
    Distinct1,
    Distinct2,
    HallucinatedObjects,
    LengthError,
    RepetitionRate,
)
from multimodal.evaluation.metrics.errors import (
    Cer,
    CerImprovement,
    ErrorRate,
    ExactMatch,
    InfillAccuracy,
    Mer,
    Wer,
    Wil,
)
from multimodal.evaluation.metrics.rewriting import (
    Chrf,
    Gleu,
    RestyleBleu,
    Sari,
    StyleAccuracy,
    StyleMetric,
    StyleWithContent,
)
from multimodal.evaluation.normalizers import NormaliserName
from multimodal.sample import CAPTIONS, Task

_CAPTION_METRICS = (CiderD, Bleu4, RougeL, Bleu3, Bleu2, Bleu1, Distinct1, Distinct2, RepetitionRate, LengthError)

TASK_METRICS: dict[Task, tuple[type[Metric], ...]] = {
    Task.CAPTION: _CAPTION_METRICS,
    Task.TRANSCRIBE: (Wer, Cer, Mer, Wil),
    Task.DENOISE: (CerImprovement, ExactMatch, Wer, Gleu),
    Task.INFILL: (InfillAccuracy, Cer),
    Task.RESTYLE: (RestyleBleu, Chrf),
    Task.AUDIO_CAPTION: _CAPTION_METRICS,
}
"""The metrics that every sample of a task allows; the first is the one that the constant answer is chosen by."""

SCENE_METRICS: tuple[type[Metric], ...] = (SceneExact, SceneObjects, SceneColours, SceneRelations, SceneSizes)
STYLE_METRICS: tuple[type[StyleMetric], ...] = (StyleAccuracy, StyleWithContent)
OTHER_METRICS: tuple[type[Metric], ...] = (Meteor, CopyRate, HallucinatedObjects, Sari, CalibrationError)
"""Rows that not every machine or data set allows; `metrics_for` says when."""

METRICS: dict[str, type[Metric]] = {
    metric.name: metric for metric in (*sum(TASK_METRICS.values(), ()), *SCENE_METRICS, *STYLE_METRICS, *OTHER_METRICS)
}

__all__ = [
    "METRICS",
    "OTHER_METRICS",
    "SCENE_METRICS",
    "STYLE_METRICS",
    "TASK_METRICS",
    "CaptionMetric",
    "Cer",
    "Diagnostic",
    "ErrorRate",
    "Metric",
    "SceneExact",
    "SceneMetric",
    "StyleMetric",
    "Wer",
    "metrics_for",
]


def metrics_for(
    task: Task,
    items: Sequence[Item],
    train: Sequence[Item],
    normaliser: NormaliserName = "none",
    confidences: Mapping[str, float] | None = None,
    java: bool = False,
) -> list[Metric]:
    """The metrics of a task's items.

    Scenes are checked where described, styles where train shows at least two, SARI where texts have an input,
    calibration where confidences are known.

    Args:
        task: of the items.
        items: what is scored.
        train: all train items of the task.
        normaliser: for the error rates of transcripts.
        confidences: sample_id -> the model's confidence in its text, 0 to 1.
        java: METEOR too, where its program is there; it takes seconds to a minute to start, and 2 GB.
    """
    given: NormaliserName = normaliser if task is Task.TRANSCRIBE else "none"
    metrics = [metric(given) if issubclass(metric, ErrorRate) else metric() for metric in TASK_METRICS[task]]
    if task in CAPTIONS:
        metrics += _of_captions(items, train, java)
    if task is Task.RESTYLE and all(item.input for item in items):
        metrics.append(Sari())
    if any(item.style for item in items):
        classifier = style.fit_style_classifier(train)
        if classifier.can_tell:
            metrics += [metric(classifier) for metric in STYLE_METRICS]
    if confidences:
        metrics.append(CalibrationError(confidences))
    return metrics


def _of_captions(items: Sequence[Item], train: Sequence[Item], java: bool) -> list[Metric]:
    metrics: list[Metric] = [CopyRate(train)]
    if java and meteor_unavailable() is None:
        metrics.append(Meteor())
    if any(item.scene is not None for item in items):
        metrics += [*(metric() for metric in SCENE_METRICS), HallucinatedObjects()]
    return metrics
