"""Rows that say how a model writes, not how well: no control has to be beaten in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multimodal.evaluation import diversity, hallucination
from multimodal.evaluation.calibration import expected_calibration_error
from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics.base import Metric, references_of
from multimodal.evaluation.outcomes import right_share
from multimodal.evaluation.score import Score


class Diagnostic(Metric):
    """A metric without controls to beat."""

    must_beat = ()


class Distinct1(Diagnostic):
    """See `diversity.distinct_n`."""

    name, title = "distinct_1", "distinct words"
    meaning = "different words over all words written; falls with the number of texts"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Distinct-1."""
        return diversity.distinct_n(hypotheses, 1)


class Distinct2(Diagnostic):
    """See `diversity.distinct_n`."""

    name, title = "distinct_2", "distinct pairs"
    meaning = "different pairs of words over all pairs written; falls with the number of texts"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Distinct-2."""
        return diversity.distinct_n(hypotheses, 2)


class RepetitionRate(Diagnostic):
    """See `diversity.repetition_rate`."""

    name, title, higher_is_better = "repetition_rate", "repetition", False
    meaning = "runs of three words that stood earlier in the same text; lower is better"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """rep-3."""
        return diversity.repetition_rate(hypotheses)


class LengthError(Diagnostic):
    """See `diversity.length_error`."""

    name, title, higher_is_better = "length_error", "length error", False
    meaning = "words too many or too few, per word of the nearest reference; lower is better"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Error of the length in words."""
        return diversity.length_error(hypotheses, references_of(items))


class CopyRate(Diagnostic):
    """See `diversity.copy_rate`.

    Args:
        train: items whose references count as copied from.
    """

    name, title, higher_is_better = "copy_rate", "copied from train", False
    meaning = "texts that stand in train word for word; the nearest neighbour is 100 % by its making"

    def __init__(self, train: Sequence[Item]) -> None:
        self.train = diversity.tokenised_set(text for item in train for text in item.references)

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Share of copies."""
        return diversity.copy_rate(hypotheses, self.train)


class HallucinatedObjects(Diagnostic):
    """CHAIRi on drawn scenes: shapes that are named and not there; see `hallucination.chair_i`."""

    name, title, higher_is_better = "hallucinated_objects", "invented objects", False
    meaning = "named shapes that the picture does not show (CHAIRi); lower is better"

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """Hallucinated mentions over all mentions, in the described scenes."""
        from multimodal.synthetic.scenes import SHAPES  # drawing is loaded only where scenes are scored

        words = hallucination.WordList({shape: shape for shape in SHAPES}, "scene shapes")
        pairs = [
            (hypothesis, {str(thing.get("shape")) for thing in item.scene.get("objects", ())})
            for item, hypothesis in zip(items, hypotheses, strict=True)
            if item.scene is not None
        ]
        texts, there = [text for text, _ in pairs], [objects for _, objects in pairs]
        mentions = hallucination.mentions_of_each(texts, there, words) if pairs else []
        found = hallucination.chair_i(mentions, words)
        return Score(self.name, found.value, found.counts, found.signature)


class CalibrationError(Diagnostic):
    """See `calibration.expected_calibration_error`; the outcome of a text is its share of right words.

    Controls are held against the model's confidence in the same sample.

    Args:
        confidences: sample_id -> what the model says of its text, 0 to 1; samples not in it are left out.
    """

    name, title, higher_is_better = "ece", "calibration error", False
    meaning = "gap between the model's confidence in a text and its share of right words; lower is better"

    def __init__(self, confidences: Mapping[str, float]) -> None:
        self.confidences = confidences

    def score(self, items: Sequence[Item], hypotheses: Sequence[str]) -> Score:
        """ECE over 15 bins; 0 where no item has a confidence."""
        known = [
            (self.confidences[item.sample_id], right_share(hypothesis, item.references))
            for item, hypothesis in zip(items, hypotheses, strict=True)
            if item.sample_id in self.confidences
        ]
        if not known:
            return Score("ece", 0.0, {"samples": 0}, "ece:no confidences")
        return expected_calibration_error([stated for stated, _ in known], [right for _, right in known])
