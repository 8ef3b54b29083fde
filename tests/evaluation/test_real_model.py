"""The stage with a real decoder, trained for a few steps, from its checkpoint on disk."""

import json

import pytest
from pydantic import TypeAdapter

from multimodal.evaluation import EvaluationReport, evaluate
from multimodal.evaluation.options import EvaluateOptions
from multimodal.sample import Task
from multimodal.training.job import TrainJob, train
from multimodal.training.options import DecoderOptions, SamplerOptions, TokenizerOptions, TrainOptions

OPTIONS = EvaluateOptions(max_samples=4, gallery=2, trajectories=1)
SAMPLER = SamplerOptions(num_steps=3)


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    options = TrainOptions(steps=2, batch_size=8, eval_every=1, eval_samples=2, checkpoint_every=2, warmup_steps=1)
    job = TrainJob(
        TokenizerOptions(vocab_size=400, max_tokens=40),
        DecoderOptions(hidden_size=32, num_layers=1, num_heads=2),
        options,
        SAMPLER,
    )
    return train(job, corpus.dataset, corpus.latents, tmp_path_factory.mktemp("workspace"))


def test_a_real_checkpoint_is_evaluated_once(corpus, trained, tmp_path):
    """All tasks are scored and shown with the training's curves; the same evaluation again does no work, and
    its record survives JSON, as the flow keeps it."""
    steps = []
    arguments = (trained.checkpoint, corpus.dataset, corpus.latents, OPTIONS, SAMPLER, tmp_path / "report")
    report = evaluate(*arguments, trained.history, lambda *step: steps.append(step), {"pipeline": "tiny"})
    assert {score.task for score in report.scores} == set(Task)
    assert steps[-1] == (120, 120)  # four texts of each task, and again for each of the frontier's four settings
    assert "Score on the validation split" in report.html.read_text()
    written = report.html.stat().st_mtime_ns
    assert evaluate(*arguments, trained.history) == report == EvaluationReport.load(report.path)
    assert report.html.stat().st_mtime_ns == written
    assert TypeAdapter(EvaluationReport).validate_json(TypeAdapter(EvaluationReport).dump_json(report)) == report


def test_other_options_are_evaluated_anew(corpus, trained, tmp_path):
    """The index says what the evaluation depended on."""
    output, arguments = tmp_path / "report", (trained.checkpoint, corpus.dataset, corpus.latents)
    first = evaluate(*arguments, OPTIONS, SAMPLER, output)
    second = evaluate(*arguments, OPTIONS, SamplerOptions(num_steps=1), output)
    assert first.fingerprint != second.fingerprint
    assert json.loads(second.json.read_text())["sampler"]["num_steps"] == 1
    assert all(task["nfe"] == 1 for task in json.loads(second.json.read_text())["tasks"].values())
