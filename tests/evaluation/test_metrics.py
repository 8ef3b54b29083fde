"""The table of metrics: which rows a task gets, and that the rows say what they should."""

import json

import pytest

from multimodal.errors import MultimodalError
from multimodal.evaluation import java_metrics
from multimodal.evaluation.items import Item
from multimodal.evaluation.metrics import METRICS, TASK_METRICS, CaptionMetric, metrics_for
from multimodal.sample import Split, Task

ROWS = {
    Task.CAPTION: {"cider_d", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "copy_rate", "length_error"},
    Task.AUDIO_CAPTION: {"cider_d", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "copy_rate", "length_error"},
    Task.TRANSCRIBE: {"wer", "cer", "mer", "wil"},
    Task.DENOISE: {"cer_improvement", "exact_match", "wer", "gleu"},
    Task.INFILL: {"infill_accuracy", "cer"},
    Task.RESTYLE: {"restyle_bleu", "chrf", "sari"},
}


def item(task, number=0, references=("a red dog runs over the grass",), attributes="{}"):
    sample = f"s{number}"
    return Item(sample, task, Split.TEST, sample, references, "a rde dog", "plain", attributes=attributes)


@pytest.mark.parametrize("task", Task)
def test_every_task_has_its_rows(task):
    """A model that writes the reference reaches the best value in each row that a control has to be beaten in."""
    items = [item(task), item(task, 1, ("the blue cat sits on two old chairs",))]
    metrics = metrics_for(task, items, items)
    assert {metric.name for metric in metrics} >= ROWS[task]
    assert metrics[0].name == TASK_METRICS[task][0].name
    right, wrong = [one.references[0] for one in items], ["", ""]
    for metric in metrics:
        best, worst = metric.score(items, right), metric.score(items, wrong)
        assert METRICS[metric.name] is type(metric) and best.name == metric.name
        if metric.must_beat:
            assert (best.value > worst.value) is metric.higher_is_better, metric.name


def test_the_normaliser_is_for_transcripts():
    """Case and punctuation of a transcript are forgiven where asked for; those of a corrected text are its errors."""
    for task, expected in ((Task.TRANSCRIBE, 0.0), (Task.DENOISE, 2 / 7)):
        items = [item(task)]
        wer = next(metric for metric in metrics_for(task, items, items, "english") if metric.name == "wer")
        assert wer.score(items, ["A red dog runs over the grass."]).value == pytest.approx(expected)


def test_calibration_is_there_where_confidences_are_known():
    """Sure and wrong in one of two: the gap is a half."""
    items = [item(Task.DENOISE), item(Task.DENOISE, 1)]
    metric = metrics_for(Task.DENOISE, items, items, confidences={"s0": 1.0, "s1": 1.0})[-1]
    assert metric.name == "ece"
    assert metric.score(items, [items[0].references[0], "else"]).value == pytest.approx(0.5)
    assert "ece" not in {metric.name for metric in metrics_for(Task.DENOISE, items, items)}


def test_invented_shapes_are_counted_where_a_scene_is_known():
    """One of the two shapes named is in the picture."""
    scene = json.dumps({"scene": {"objects": [{"shape": "circle", "colour": "red"}]}})
    items = [item(Task.CAPTION, attributes=scene), item(Task.CAPTION, 1)]
    rows = {metric.name: metric for metric in metrics_for(Task.CAPTION, items, items)}
    score = rows["hallucinated_objects"].score(items, ["a red circle and two stars", "a square"])
    assert score.value == 1 / 2 and score.counts["samples"] == 1
    assert "hallucinated_objects" not in {metric.name for metric in metrics_for(Task.CAPTION, items[1:], items)}


def test_copies_are_those_of_train():
    """One caption stands in train."""
    items = [item(Task.CAPTION), item(Task.CAPTION, 1)]
    copies = next(metric for metric in metrics_for(Task.CAPTION, items, items) if metric.name == "copy_rate")
    assert copies.score(items, ["A red dog runs over the grass", "a dog"]).value == 1 / 2


def test_meteor_is_in_the_table_only_where_its_program_is(monkeypatch):
    """Never a stand-in: unasked or without the package the row is left out, and scoring by it says why."""
    items = [item(Task.CAPTION)]
    asked = {metric.name for metric in metrics_for(Task.CAPTION, items, items, java=True)}
    assert ("meteor" in asked) is (java_metrics.meteor_unavailable() is None)
    assert "meteor" not in {metric.name for metric in metrics_for(Task.CAPTION, items, items)}
    monkeypatch.setattr(java_metrics, "find_spec", lambda name: None)
    assert "meteor" not in {metric.name for metric in metrics_for(Task.CAPTION, items, items, java=True)}
    with pytest.raises(MultimodalError, match="not computed: the package pycocoevalcap is not installed"):
        METRICS["meteor"]().score(items, ["a dog"])


def test_values_are_shown_in_their_own_scale():
    """Shares as percentages, caption scores with three digits, scores of a hundred with one."""
    shown = {name: METRICS[name].shown(0.5) for name in ("wer", "bleu_1", "chrf", "repetition_rate")}
    assert shown == {"wer": "50.0\u202f%", "bleu_1": "0.500", "chrf": "0.5", "repetition_rate": "50.0\u202f%"}
    assert issubclass(METRICS["meteor"], CaptionMetric)
