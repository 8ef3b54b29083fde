"""`multimodal ledger`, `explain` and `verify` on a workspace on disk: no server, no model, no Prefect."""

import json

import pytest
from typer.testing import CliRunner

from flows.chosen import chosen_dataset
from flows.cli import app
from flows.explain import lines
from multimodal.errors import DatasetError, RequestError
from multimodal.fingerprint import read_index, write_index
from multimodal.lineage import find_row, life_of
from tests.small_workspace import ENCODER, remember

pytest_plugins = ("tests.workspace_fixtures",)


def multimodal(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_summary_counts_by_source_fate_and_reason(ingested_once):
    """As a table, and as JSON for programs; by configuration and by workspace."""
    shown = multimodal("ledger", "summary", ingested_once.conf)
    assert shown.exit_code == 0 and "truncated_image" in shown.stdout and "33" in shown.stdout
    values = json.loads(multimodal("ledger", "summary", "--workspace", ingested_once.workspace, "--json").stdout)
    assert values["rows"] == sum(count["rows"] for count in values["counts"]) == 33
    assert {"source": "texts", "fate": "quarantined", "reason": "missing_input", "rows": 1} in values["counts"]


def test_rows_are_listed(ingested_once):
    """With what was found; as one JSON object a line; cut at the limit, which is said."""
    shown = multimodal("ledger", "list", ingested_once.conf, "--reason", "truncated_image")
    assert "pictures.csv#6" in shown.stdout and "1 of 1 rows" in shown.stdout
    printed = multimodal("ledger", "list", ingested_once.conf, "--fate", "kept", "--source", "texts", "--json").stdout
    assert [json.loads(line)["uri"] for line in printed.splitlines()] == [f"texts.csv#{n}" for n in range(1, 21)]
    assert "29 more; --limit 0 shows all" in multimodal("ledger", "list", ingested_once.conf, "--limit", 4).stdout


def test_a_reason_that_is_not_there_is_an_error(ingested_once):
    """The command line prints its message in one line."""
    refused = multimodal("ledger", "list", ingested_once.conf, "--reason", "too_smal")
    assert isinstance(refused.exception, RequestError) and "did you mean 'too_small'" in str(refused.exception)


def test_a_life_is_told_in_order(ingested_once):
    """From the row to the score, each fact once; quarantined rows have the first facts only."""
    dataset, sample = ingested_once.dataset, ingested_once.sample("three")
    facts = dict(lines(life_of(dataset, find_row(dataset, sample.sample_id))))
    assert facts["row"] == "pictures:pictures.csv#3"
    assert facts["split"] == "test: given by the source"
    assert facts["model 1"].startswith("tiny version 7, checkpoint abc/step-000010")
    assert facts["model 1 wrote"] == "a tree  (4 denoiser calls)"
    assert facts["model 1 score"] == "bleu_4 0.2500 (0.5000 over the split)"
    assert ENCODER in facts["latents 1"]
    refused = dict(lines(life_of(dataset, find_row(dataset, "pictures.csv#6"))))
    assert refused["fate"].startswith("quarantined: truncated_image, ") and set(refused) < set(facts) | {"media"}
    shown = multimodal("explain", sample.sample_id[:10], ingested_once.conf)
    assert shown.exit_code == 0 and "a tree" in shown.stdout
    values = json.loads(multimodal("explain", sample.sample_id, ingested_once.conf, "--json").stdout)
    assert values["written"][0]["score"] == 0.25


def test_verify_says_what_differs_and_exits_with_1(made):
    """Nothing differs: 0. One flipped bit: 1, and the shard is named."""
    intact = multimodal("verify", made.workspace)
    assert intact.exit_code == 0 and "intact" in intact.stdout
    part = made.dataset.path / "part-00000.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    damaged = multimodal("verify", made.workspace)
    assert damaged.exit_code == 1
    assert f"dataset {made.dataset.path.name}: part-00000.parquet: SHA-256" in damaged.stdout
    found = json.loads(multimodal("verify", made.dataset.path, "--json").stdout)
    assert found[0]["intact"] is False and found[0]["differences"][0]["place"] == "part-00000.parquet"


def test_the_newest_dataset_of_a_pipeline_is_meant(made, ingested_once):
    """Another pipeline's newer dataset does not hide it; a configuration without a dataset is told to ingest."""
    other = made.workspace / "dataset" / "other"
    other.mkdir()
    write_index(other, read_index(ingested_once.dataset.path))
    remember(made, "ingest", {"a": 1}, {"path": "elsewhere/other"})
    assert chosen_dataset(None, made.workspace).path.name == "other"
    (made.workspace / "stages" / "tiny").rename(made.workspace / "stages" / "another")
    with pytest.raises(DatasetError, match="no dataset of pipeline 'tiny'"):
        chosen_dataset(ingested_once.conf, made.workspace)
    assert chosen_dataset(ingested_once.conf, None).path == ingested_once.dataset.path
    with pytest.raises(DatasetError, match="no dataset in"):
        chosen_dataset(None, made.root / "nothing")
