"""Metrics of captions against references, and against the scene that was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from multimodal.errors import MultimodalError
from multimodal.evaluation import captions, java_metrics
from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics.base import Metric, references_of
from multimodal.evaluation.score import Score


def _coco(items: Sequence[Item], hypotheses: Sequence[str]) -> tuple[Score, ...]:
    return _caption_scores(tuple(hypotheses), tuple(tuple(item.references) for item in items))


@lru_cache(maxsize=16)  # six metrics of the same texts: they are split, and their n-grams counted, once
def _caption_scores(hypotheses: tuple[str, ...], references: tuple[tuple[str, ...], ...]) -> tuple[Score, ...]:
    return captions.caption_scores(hypotheses, references)


class CaptionMetric(Metric):
    """A metric of captions with several references."""

    percent = False


class CiderD(CaptionMetric):
    """See `captions.cider_d`."""

    name, title = "cider_d", "CIDEr-D"
    meaning = "agreement with the references on words that tell pictures apart, 0 to 10"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """CIDEr-D."""
        return _coco(items, hypotheses)[5]


class Bleu(CaptionMetric):
    """One order of `captions.corpus_bleu`; its name ends with the order."""

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """BLEU up to the order, as COCO defines it."""
        return _coco(items, hypotheses)[int(self.name.removeprefix("bleu_")) - 1]


class Bleu4(Bleu):
    """BLEU-4."""

    name, title = "bleu_4", "BLEU-4"
    meaning = "matching runs of up to four words, 0 to 1"


class Bleu3(Bleu):
    """BLEU-3."""

    name, title = "bleu_3", "BLEU-3"
    meaning = "matching runs of up to three words, 0 to 1"


class Bleu2(Bleu):
    """BLEU-2."""

    name, title = "bleu_2", "BLEU-2"
    meaning = "matching words and pairs of words, 0 to 1"


class Bleu1(Bleu):
    """BLEU-1; a constant caption of frequent words is no control of it, since no order is asked for."""

    name, title, must_beat = "bleu_1", "BLEU-1", ()
    meaning = "matching single words, 0 to 1"


class RougeL(CaptionMetric):
    """See `captions.rouge_l`."""

    name, title = "rouge_l", "ROUGE-L"
    meaning = "longest common subsequence with a reference, 0 to 1"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """ROUGE-L, as COCO defines it."""
        return _coco(items, hypotheses)[4]


class Meteor(CaptionMetric):
    """See `java_metrics.meteor`; only in the table where the program is there."""

    name, title, must_beat = "meteor", "METEOR", ()
    meaning = "words matched as they are, by stem, synonym or paraphrase, 0 to 1"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """METEOR 1.5.

        Raises:
            MultimodalError: there is no METEOR here; `metrics_for` leaves it out then.
        """
        score = java_metrics.meteor(hypotheses, references_of(items))
        if score is None:
            raise MultimodalError(f"METEOR is not computed: {java_metrics.meteor_unavailable()}")
        return score


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
