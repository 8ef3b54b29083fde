"""The whole stage on a real dataset: what a perfect model and a blind model are told about themselves."""

import json

import pyarrow.parquet as pq
import pytest

from multimodal.errors import CheckpointError, DatasetError
from multimodal.evaluation import evaluate
from multimodal.evaluation.options import EvaluateOptions
from multimodal.evaluation.predictions import SCHEMA
from multimodal.evaluation.report import ReportInputs, stamp_verdict
from multimodal.evaluation.stage import EvaluationReport, evaluate_tasks, report_values, write_report
from multimodal.sample import Modality, Split, Task
from multimodal.training.options import SamplerOptions
from multimodal.verification import verify

from .conftest import Blind, Oracle, history

OPTIONS = EvaluateOptions(batch_size=4, gallery=3, trajectories=1)
PERFECT = {
    "bleu_4": 1, "rouge_l": 1, "wer": 0, "cer": 0, "cer_improvement": 1, "exact_match": 1, "infill_accuracy": 1,
    "restyle_bleu": 100, "style_accuracy": 1, "style_with_content": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def perfect(corpus):
    return evaluate_tasks(Oracle(corpus), corpus.dataset, corpus.stores, OPTIONS, SamplerOptions())


def test_an_oracle_gets_perfect_scores_and_beats_all_controls(perfect):
    """Every metric reaches its best value, and no control reaches it too."""
    results, skipped = perfect
    scores = [score for result in results for score in result.scores if score.must_beat]
    assert {score.metric for score in scores} >= PERFECT.keys() and not skipped
    for score in scores:
        assert score.value == pytest.approx(PERFECT.get(score.metric, score.value), abs=1e-6), score.metric
        assert score.beats_controls, score
        assert score.conditioning_gap > 0


def test_a_blind_model_does_not_beat_shuffled_conditions(corpus):
    """Whatever it scores, it scores the same when the conditions are shuffled."""
    results, _ = evaluate_tasks(Blind(), corpus.dataset, corpus.stores, OPTIONS, SamplerOptions())
    for score in (score for result in results for score in result.scores):
        assert score.value == score.shuffled == score.null
        assert not score.must_beat or not score.beats_controls
        assert score.conditioning_gap == 0


def test_captions_of_one_picture_are_references_of_one_hypothesis(perfect):
    """Six pictures with two captions each are six items."""
    captions = next(result for result in perfect[0] if result.task is Task.CAPTION)
    assert [len(item.references) for item in captions.items] == [2] * 6


def test_progress_counts_every_text_once(corpus):
    """The last call says that all are done: `max_samples` of each task, and again for each step of the frontier."""
    calls = []
    options = OPTIONS.model_copy(update={"max_samples": 3})
    evaluate_tasks(
        Oracle(corpus), corpus.dataset, corpus.stores, options, SamplerOptions(), lambda *call: calls.append(call)
    )
    every = 15 * len(Task)
    assert calls[-1] == (every, every) and [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_tasks_that_cannot_be_evaluated_are_named(corpus):
    """Without latents of sound there is no transcribe score, and the reason is given."""
    stores = {modality: store for modality, store in corpus.stores.items() if modality is not Modality.AUDIO}
    results, skipped = evaluate_tasks(Oracle(corpus), corpus.dataset, stores, OPTIONS, SamplerOptions())
    assert Task.TRANSCRIBE not in {result.task for result in results}
    assert "audio" in skipped["transcribe"]


def test_unseen_voices_are_a_slice_of_their_own(perfect):
    """Voices that train lacks are told apart from those it has."""
    speech = next(result for result in perfect[0] if result.task is Task.TRANSCRIBE)
    counts = {part.name: part.count for part in speech.slices}
    assert counts["voices heard in training"] == counts["voices never heard in training"] * 2 == 4
    assert counts["voice voice2 (unseen)"] == 2


def test_what_is_written_can_be_read_back(corpus, perfect, tmp_path):
    """Predictions, report.json and report.html lie in a finished folder that gives the same scores again."""
    results, skipped = perfect
    inputs = ReportInputs(
        results, skipped, corpus.dataset, corpus.stores, OPTIONS, SamplerOptions(), Oracle(corpus),
        history(tmp_path / "history.jsonl"), {"pipeline": "tiny"},
    )  # fmt: skip
    report = write_report(tmp_path / "report", inputs, {"made": "here"})
    assert report == EvaluationReport.load(report.path)
    assert report.scores == tuple(score for result in results for score in result.scores)
    rows = pq.read_table(report.predictions)
    places = {sample.sample_id: (sample.source, sample.uri) for sample in corpus.dataset.samples()}
    assert {row["sample_id"]: (row["source"], row["uri"]) for row in rows.to_pylist()}.items() <= places.items()
    assert rows.schema.equals(SCHEMA) and rows.num_rows == sum(len(result.items) for result in results)
    assert json.loads(report.json.read_text()) == json.loads(json.dumps(report_values(inputs)))
    assert report.html.read_text().startswith("<!doctype html>")
    report.html.write_text(stamp_verdict(report.html.read_text(), True, "promoted"))  # as the gate does, later
    assert [(found.kind, found.differences) for found in verify(report.path)] == [("report", ())]


def test_a_folder_without_an_index_is_no_evaluation(tmp_path):
    """A half-written folder is not read."""
    with pytest.raises(DatasetError, match="run the evaluate stage"):
        EvaluationReport.load(tmp_path)


def test_a_missing_checkpoint_is_named(corpus, tmp_path):
    """Evaluation of a folder that holds no model says so at once."""
    with pytest.raises(CheckpointError, match="lacks"):
        evaluate(tmp_path, corpus.dataset, corpus.latents, OPTIONS, SamplerOptions(), tmp_path / "report")


def test_an_empty_split_is_an_error(corpus):
    """Nothing to evaluate is said, not reported as a perfect score."""
    with pytest.raises(DatasetError, match="nothing to evaluate in split 'val'"):
        evaluate_tasks(Blind(), _Empty(), corpus.stores, EvaluateOptions(split=Split.VAL), SamplerOptions())


class _Empty:
    def samples(self, split=None, task=None):
        return []
