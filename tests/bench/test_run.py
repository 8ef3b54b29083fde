"""A whole comparison on a tiny corpus: trained, written, timed, scored, reported, and gone on with."""

import json
import re

import pytest
import yaml

from multimodal.bench import contenders as contenders_module
from multimodal.bench.contenders import Materials
from multimodal.bench.options import DEFAULT, read_bench
from multimodal.bench.run import Bench
from multimodal.encoders.options import EncodeOptions
from multimodal.sample import Task

BASE = {
    "name": "tiny",
    "ingest": {"sources": [{"name": "made", "path": "made.tsv", "task": "caption"}]},
    "encode": {},
    "tokenizer": {"vocab_size": 400, "max_tokens": 40},
    "decoder": {"hidden_size": 32, "num_layers": 1, "num_heads": 2},
    "train": {"batch_size": 8, "eval_every": 2, "checkpoint_every": 2, "eval_samples": 2, "mixed_precision": "no"},
    "sampler": {"num_steps": 4},
}
COMPARISON = {
    "seeds": [0],
    "budget": {"steps": 4},
    "subject": "diffusion",
    "twin": "autoregressive",
    "library": "gpt2",
    "catalogue": {
        "diffusion": {
            "curves": {
                "adaptive": {"vary": "num_steps", "values": [1, 4]},
                "scheduled": {
                    "source": "LLaDA", "sampler": {"kind": "scheduled"}, "vary": "num_steps", "values": [1, 2]
                },
            }
        },
        "autoregressive": {"overrides": {"train": {"process": "autoregressive"}}, "curves": {
            "beam": {"vary": "beams", "values": [2]}}},
        "gpt2": {"model": "gpt2", "overrides": {"train": {"process": "autoregressive"}}},
    },
    "batch_size": 4,
    "timing": {"threads": 1, "samples": 3, "batch_sizes": [1, 3], "rounds": 1, "contents": 0, "train_steps": 2},
    "resamples": 100,
}  # fmt: skip
POINTS = {
    "diffusion": {DEFAULT, *(f"adaptive num_steps={n}" for n in (1, 4)), *(f"scheduled num_steps={n}" for n in (1, 2))},
    "autoregressive": {DEFAULT, "beam beams=2"},
    "gpt2": {DEFAULT},
}  # fmt: skip


@pytest.fixture(scope="module")
def bench_of(corpus, tmp_path_factory):
    """Makes the comparison with some overrides, always in one workspace."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
    (folder / "bench.yaml").write_text(yaml.safe_dump(COMPARISON | {"base": str(folder / "base.yaml")}))
    materials = Materials(corpus.dataset, corpus.latents, EncodeOptions(), folder / "workspace")

    def make(*overrides):
        steps = []
        options = read_bench(folder / "bench.yaml", overrides)
        return Bench(options, materials, lambda what, done, total: steps.append((what, done)))

    return make


@pytest.fixture(scope="module")
def results(bench_of):
    """The whole comparison, run once."""
    return bench_of().run()


def test_everything_is_measured(results, corpus):
    """Each contender has each point and task; the table of goals says of each whether it is met."""
    found = json.loads((results.folder / "results.json").read_text())
    assert {(row["contender"], row["point"]) for row in found["scores"]} == {
        (name, point) for name, points in POINTS.items() for point in points
    }
    assert {row["task"] for row in found["texts"]} == set(Task)
    assert {row["metric"] for row in found["scores"] if row["is_main"]} == {
        "cider_d", "wer", "cer_improvement", "infill_accuracy", "restyle_bleu"
    }  # fmt: skip
    for row in found["texts"]:
        assert len(row["hypotheses"]) == len(row["nfe"]) == len(found["items"][row["task"]])
    for row in found["scores"]:
        (low, high), value = row["intervals"]["0"], row["values"]["0"]
        assert low <= value <= high and len(row["each"]) == row["samples"]
    goals = {row["goal"]: row["met"] for row in found["verdicts"]}
    assert len(goals) == 7 and None not in goals.values()
    assert goals["a text alone equals the text in a batch"] is True
    assert all(one["tokens_per_second"] > 0 for one in found["speed"]["training"])


def test_calls_are_counted(results):
    """One diffusion step is one call; two beams take at least twice the calls of one."""
    scores = {(s.contender, s.point, s.task): s for s in results.comparison.scores if s.is_main}
    for task in {task for *_, task in scores}:
        assert scores["diffusion", "adaptive num_steps=1", task].nfe == 1
        assert scores["autoregressive", "beam beams=2", task].nfe >= 2


def test_tables_plots_and_page(results):
    """The log's table has a row for each contender, metric and task; plots are pictures; the page is self-contained."""
    table = (results.folder / "table.md").read_text()
    assert all(title in table for title in ("**Goals.**", "**Quality.**", "**Latency.**", "**Training.**"))
    assert sum("| gpt2 |" in line for line in table.splitlines() if line.startswith(("| caption", "| denoise"))) == 4
    for name in ("quality-nfe.png", "quality-latency.png"):
        data = (results.folder / name).read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) > 10_000
    page = (results.folder / "bench.html").read_text()
    assert page.count("<svg") == 2 and not re.search(r"""(src|href)="(?!#|data:)""", page)


def test_nothing_is_done_twice(results, bench_of, monkeypatch):
    """The same command trains nothing, writes nothing, times nothing, and says the same."""
    before = {path: path.stat().st_mtime_ns for path in (results.folder / "texts").iterdir()}
    text = (results.folder / "results.json").read_text()
    monkeypatch.setattr("multimodal.bench.run.measure_speed", None)
    monkeypatch.setattr("multimodal.training.job.build_trainer", None)
    again = bench_of().run()
    assert {path: path.stat().st_mtime_ns for path in (again.folder / "texts").iterdir()} == before
    assert (again.folder / "results.json").read_text() == text


def test_a_piece_is_found_by_the_whole(results, bench_of, monkeypatch):
    """A run of one contender with one seed more trains just that one; what it lacks is said, not made up."""
    trained = []
    train = contenders_module.train

    def counted(job, *arguments, **keywords):
        trained.append((job.train.process, job.seed))
        return train(job, *arguments, **keywords)

    monkeypatch.setattr(contenders_module, "train", counted)
    piece = bench_of("name=piece", "contenders=[diffusion]", "seeds=[0, 1]", "timing.train_steps=0").run()
    assert trained == [("absorbing", 0), ("absorbing", 1)]
    assert len(list((piece.folder.parent.parent / "checkpoints").glob("*/index.json"))) == 3
    met = {verdict.goal: verdict.met for verdict in piece.verdicts}
    assert met["diffusion 2 times faster than autoregressive at batch 1"] is None
    (score,) = [s for s in piece.comparison.main("diffusion", DEFAULT).values() if s.task is Task.CAPTION]
    assert set(score.values) == {0, 1} and score.spread is not None
