"""The pairs stage in a pipeline: scored after encode, filtered before train, told by ledger, explain and report."""

import json

import pytest

from flows.explain import lines
from flows.pipeline import dry_run, pipeline, read_config
from multimodal.dataset import Dataset
from multimodal.errors import ConfigError
from multimodal.fingerprint import read_index
from multimodal.lineage import find_row, life_of
from multimodal.pairs.table import left_out_ids, left_out_rows, read_pairs
from multimodal.sample import Split
from tests.conftest import ROOT
from tests.flows.conftest import SMOKE
from tests.flows.test_pipeline import pipeline_runs, stage_runs

FRACTION = 0.6
SCENES = ["ingest.sources=[{name: scenes, path: data/sample/scenes.tsv, task: caption, limit: 80}]", "train.steps=4"]
SCENES += ["train.eval_every=4", "train.checkpoint_every=4", "evaluate.max_samples=4", "evaluate.frontier=[1]"]
KEEP = f"encode.pairs={{keep: {{caption: {{keep_top_fraction: {FRACTION}}}}}}}"


@pytest.fixture(scope="module")
def filtered(prefect_server, tmp_path_factory):
    """Scenes alone, up to the report, with a filter; workspace, overrides and result."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        workspace = tmp_path_factory.mktemp("filtered") / "workspace"
        overrides = [f"workspace={workspace}", *SCENES, KEEP]
        yield workspace, overrides, pipeline(SMOKE, overrides, "evaluate")


def test_train_is_filtered_and_the_dataset_is_not(filtered):
    """So many of train are left out as the fraction says, none of val and test; the dataset has all of them."""
    workspace, _, result = filtered
    (folder,) = workspace.glob("pairs/*")
    assert result.encoded.pairs == folder
    gone, train = left_out_ids(folder), Dataset(result.dataset.path).samples(Split.TRAIN)
    assert len(gone) == len(train) - -(-len(train) * 6 // 10) and gone <= {sample.sample_id for sample in train}
    assert len(read_pairs(folder)) == result.dataset.counts.kept
    index = read_index(result.trained.path)
    assert index["parts"]["dataset"] == result.dataset.fingerprint
    assert index["parts"]["left_out"] == read_index(folder)["left_out"] != ""


def test_the_report_shows_a_histogram_and_counts_what_was_learnt(filtered):
    """One drawing for each split; the data card's train column is without what was left out."""
    workspace, _, result = filtered
    (folder,) = workspace.glob("pairs/*")
    page = result.report.html.read_text()
    section = page[page.index("How well texts go with their contents") :]
    assert all(f"<figcaption>caption, {split}</figcaption>" in section for split in Split)
    gone = len(left_out_ids(folder))
    train = result.dataset.by_split["train"]
    assert f"{gone} of {train} pairs left out" in section and section.count("not filtered</p>") == 2
    assert f"<td>{train - gone}</td>" in page[page.index('id="data"') :]


def test_explain_and_the_ledger_tell_it(filtered, command):
    """Of a sample that was left out: its cosine, its rank and why; as text, as JSON, and in the ledger's counts."""
    workspace, _, result = filtered
    (folder,) = workspace.glob("pairs/*")
    row = left_out_rows(folder).to_pylist()[0]
    dataset = Dataset(result.dataset.path)
    told = dict(lines(life_of(dataset, find_row(dataset, row["sample_id"]))))
    assert "left out of what is learnt" in told["pair score 1"] and f"pairs/{folder.name}" in told["pair score 1"]
    done = command("ledger", "summary", "--workspace", workspace, "--json")
    counts = {(one["fate"], one["reason"]): one["rows"] for one in json.loads(done.stdout)["counts"]}
    assert counts["quarantined", "low_alignment"] == len(left_out_ids(folder)), done.stderr
    assert sum(counts.values()) == result.dataset.counts.rows


def test_scores_are_in_the_tracking(filtered):
    """The stage's MLflow run holds mean cosines and counts by task and split."""
    workspace, _, _ = filtered
    (parent,) = pipeline_runs(workspace)
    metrics = stage_runs(workspace, parent)["pairs"].data.metrics
    assert metrics["pairs/caption/train/left_out"] > 0 == metrics["pairs/caption/val/left_out"]
    assert 0 < metrics["pairs/caption/test/mean_cosine"] < 1


def test_what_a_change_of_the_filter_runs(filtered):
    """Nothing, unchanged; with another fraction the pairs stage and all after it, but no encoding."""
    _, overrides, _ = filtered
    assert not any(one.runs for one in dry_run(read_config(SMOKE, overrides), "evaluate"))
    other = [*overrides, "encode.pairs.keep.caption.keep_top_fraction=0.5"]
    runs = {one.stage: one.runs for one in dry_run(read_config(SMOKE, other), "train")}
    assert runs == {"ingest": False, "encode": False, "pairs": True, "train": True}


def test_another_filter_scores_nothing_again_and_training_obeys_it(filtered):
    """A threshold that nothing reaches leaves training without a sample; all scores were known."""
    workspace, overrides, _ = filtered
    before = sorted(workspace.glob("pair-scores/*/*"))
    with pytest.raises(ConfigError, match="no task has samples in the train split"):
        pipeline(SMOKE, [*overrides, "encode.pairs={keep: {caption: {min_score: 1.0}}}"], "train")
    assert sorted(workspace.glob("pair-scores/*/*")) == before and len(before) == 1


def test_a_filter_needs_an_encoder_with_a_text_side(filtered):
    """Speech has none: said with the encoder and the cure, and nothing is written."""
    workspace, overrides, _ = filtered
    speech = "ingest.sources=[{name: speech, path: data/sample/speech.tsv, task: transcribe, limit: 20}]"
    keep = "encode.pairs={keep: {transcribe: {keep_top_fraction: 0.5}}}"
    with pytest.raises(ConfigError, match="the whisper encoder of audio has no text side"):
        pipeline(SMOKE, [*overrides, speech, keep], "encode")
    assert len(list(workspace.glob("pairs/*"))) <= 2
