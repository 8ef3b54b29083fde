"""The metrics of each task, one small class each, found in one table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from multimodal.evaluation import captions, error_rates, style
from multimodal.evaluation.items import Item
from multimodal.evaluation.score import CONTROLS, Score
from multimodal.sample import Task


class Metric(ABC):
    """Scores hypotheses of the items of one task.

    Attributes:
        name: key in `METRICS`, in report.json and in MLflow.
        title: what the report calls it.
        meaning: one line for the reader of the report.
        percent: shown as a percentage.
        higher_is_better: direction.
        must_beat: controls that say something about this metric.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    meaning: ClassVar[str]
    percent: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    must_beat: ClassVar[tuple[str, ...]] = CONTROLS

    @abstractmethod
    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """The score of one hypothesis per item."""

    @classmethod
    def shown(cls, value: float) -> str:
        """A value as the report prints it."""
        return f"{100 * value:.1f}\u202f%" if cls.percent else f"{value:.3f}"


class CaptionMetric(Metric):
    """A metric of captions with several references."""

    percent = False


class CiderD(CaptionMetric):
    """See `captions.cider_d`."""

    name, title = "cider_d", "CIDEr-D"
    meaning = "agreement with the references on words that tell pictures apart, 0 to 10"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """CIDEr-D."""
        return captions.cider_d(hypotheses, [item.references for item in items])


class Bleu4(CaptionMetric):
    """See `captions.corpus_bleu`."""

    name, title = "bleu_4", "BLEU-4"
    meaning = "matching runs of up to four words, 0 to 1"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """BLEU-4, as COCO defines it."""
        return captions.corpus_bleu(hypotheses, [item.references for item in items])[3]


class RougeL(CaptionMetric):
    """See `captions.rouge_l`."""

    name, title = "rouge_l", "ROUGE-L"
    meaning = "longest common subsequence with a reference, 0 to 1"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """ROUGE-L, as COCO defines it."""
        return captions.rouge_l(hypotheses, [item.references for item in items])


class SceneMetric(Metric):
    """A share of scenes described rightly; see `scenes.scene_share`."""

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """The share of scenes right in the aspect that the metric's name ends with."""
        from multimodal.evaluation.scenes import scene_share  # drawing is loaded only where scenes are scored

        return scene_share(items, hypotheses, self.name.removeprefix("scene_"))


class SceneExact(SceneMetric):
    """All of a scene."""

    name, title = "scene_exact", "scene right"
    meaning = "objects, colours and relations all as drawn"


class SceneObjects(SceneMetric):
    """The objects of a scene."""

    name, title = "scene_objects", "objects right"
    meaning = "every drawn object is named and no other"


class SceneColours(SceneMetric):
    """The colours of a scene."""

    name, title = "scene_colours", "colours right"
    meaning = "every object with its colour"


class SceneRelations(SceneMetric):
    """The relations of a scene."""

    name, title = "scene_relations", "relations right"
    meaning = "every word is understood, and what is said of places, relations and background is so"


class SceneSizes(SceneMetric):
    """The sizes of a scene's objects; not asked for by `SceneExact`."""

    name, title = "scene_sizes", "sizes right"
    meaning = "every object with its colour and its size"


class Wer(Metric):
    """See `error_rates.wer`."""

    name, title, higher_is_better = "wer", "WER", False
    meaning = "word errors per reference word; lower is better"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Word error rate."""
        return error_rates.wer(hypotheses, _first_references(items))


class Cer(Metric):
    """See `error_rates.cer`."""

    name, title, higher_is_better = "cer", "CER", False
    meaning = "character errors per reference character; lower is better"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Character error rate."""
        return error_rates.cer(hypotheses, _first_references(items))


class CerImprovement(Metric):
    """See `error_rates.cer_improvement`."""

    name, title = "cer_improvement", "errors removed"
    meaning = "share of the input's character errors that are gone; copying the input gives 0"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Improvement of the character error rate over the input."""
        return error_rates.cer_improvement(hypotheses, _first_references(items), [item.input for item in items])


class ExactMatch(Metric):
    """See `error_rates.exact_match`."""

    name, title = "exact_match", "exact match"
    meaning = "whole texts without any error"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Share of texts equal to a reference."""
        return error_rates.exact_match(hypotheses, [item.references for item in items])


class InfillAccuracy(Metric):
    """The share of gaps filled with exactly the words that were cut out."""

    name, title = "infill_accuracy", "gap right"
    meaning = "gaps filled with exactly the words that were cut out"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Share of gaps filled as in the reference."""
        return error_rates.exact_match(hypotheses, [item.references for item in items], name=self.name)


class RestyleBleu(Metric):
    """See `style.restyle_bleu`."""

    name, title, percent = "restyle_bleu", "BLEU", False
    meaning = "matching runs of words with the reference in the asked style, 0 to 100"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """BLEU of sacrebleu."""
        return style.restyle_bleu(items, hypotheses)

    @classmethod
    def shown(cls, value: float) -> str:
        """BLEU with one digit, as is usual."""
        return f"{value:.1f}"


class StyleMetric(Metric):
    """A metric that asks a classifier for the style of a text."""

    def __init__(self, classifier: style.StyleClassifier) -> None:
        self.classifier = classifier


class StyleAccuracy(StyleMetric):
    """See `style.style_accuracy`.

    Nearest neighbours are no control of it: a text retrieved from train is in some pure style, usually the asked one.
    """

    name, title = "style_accuracy", "style right"
    meaning = "taken for the asked style by a classifier, whatever it says"
    must_beat = ("constant", "shuffled")

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Share of texts in the asked style."""
        return style.style_accuracy(items, hypotheses, self.classifier)


class StyleWithContent(StyleMetric):
    """See `style.style_with_content`."""

    name, title = "style_with_content", "style and content"
    meaning = "chrF with the reference, counted only where the style is the asked one"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Mean chrF of the texts in the asked style, 0 for the others."""
        return style.style_with_content(items, hypotheses, self.classifier)


TASK_METRICS: dict[Task, tuple[type[Metric], ...]] = {
    Task.CAPTION: (CiderD, Bleu4, RougeL),
    Task.TRANSCRIBE: (Wer, Cer),
    Task.DENOISE: (CerImprovement, ExactMatch),
    Task.INFILL: (InfillAccuracy,),
    Task.RESTYLE: (RestyleBleu,),
}
"""The metrics that every sample of a task allows; the first is the one that the constant answer is chosen by."""

SCENE_METRICS: tuple[type[Metric], ...] = (SceneExact, SceneObjects, SceneColours, SceneRelations, SceneSizes)
STYLE_METRICS: tuple[type[StyleMetric], ...] = (StyleAccuracy, StyleWithContent)

METRICS: dict[str, type[Metric]] = {
    metric.name: metric for metric in (*sum(TASK_METRICS.values(), ()), *SCENE_METRICS, *STYLE_METRICS)
}


def metrics_for(task: Task, items: Sequence[Item], train: Sequence[Item]) -> list[Metric]:
    """The metrics of a task's items: scenes are checked where described, styles where train shows at least two."""
    metrics = [metric() for metric in TASK_METRICS[task]]
    if task is Task.CAPTION and any(item.scene is not None for item in items):
        metrics += [metric() for metric in SCENE_METRICS]
    if task is Task.RESTYLE:
        classifier = style.fit_style_classifier(train)
        if classifier.can_tell:
            metrics += [metric(classifier) for metric in STYLE_METRICS]
    return metrics


def _first_references(items: Sequence[Item]) -> list[str]:
    return [item.references[0] for item in items]
