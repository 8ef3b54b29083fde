"""Registering, promoting and loading on a real SQLite registry."""

import json
import os
import shutil
import subprocess
import sys

import mlflow
import pytest

from flows.train import job_of
from multimodal.config import load_config
from multimodal.errors import CheckpointError, RegistryError
from multimodal.fingerprint import file_digest
from multimodal.package import read_package, write_package
from multimodal.predictor import Row
from multimodal.registry import (
    champion,
    fetch_package,
    list_versions,
    load_champion,
    load_version,
    register_model,
    registered_names,
)
from multimodal.tracking import open_run, tracking_client, tracking_uri
from multimodal.training.finetuning.start import initial_weights, load_start
from multimodal.training.options import TrainOptions
from tests.small_model import load_all_encoders, picture, small_checkpoint

pytest_plugins = ("tests.mlflow_fixtures",)


@pytest.fixture(scope="module")
def packages(small_package, tmp_path_factory):
    """Three packages that differ in the decoder's weights."""
    folder = tmp_path_factory.mktemp("three")
    encode, encoders = load_all_encoders(folder)
    sizes = {modality: encoder.hidden_size for modality, encoder in encoders.items()}
    checkpoints = [small_checkpoint(folder / f"checkpoint-{seed}", sizes, seed) for seed in (1, 2, 3)]
    probe = [Row("denoise", text="a smal circle")]
    return [
        write_package(folder / "packages", checkpoint, encoders, encode, small_package.sampler, probe)
        for checkpoint in checkpoints
    ]


def register(workspace, package, score, **options):
    """Register within a pipeline run, as the flow does."""
    with open_run(workspace, "sample") as run, run.stage("register") as stage:
        return register_model(workspace, "sample", package, stage.run_id, score, **options)


def test_the_better_version_becomes_champion(workspace, packages):
    """First champion by default, a worse challenger not, a better one is; reasons and aliases say so."""
    first = register(workspace, packages[0], 0.5, tags={"dataset.fingerprint": "abcd"}, description="the first")
    assert (first.version, first.promoted, first.champion_before) == (1, True, None)
    assert first.aliases == ("challenger", "champion") and "no champion to compare with" in first.reason
    worse = register(workspace, packages[1], 0.4)
    assert (worse.version, worse.promoted, worse.champion_before, worse.aliases) == (2, False, 1, ("challenger",))
    assert worse.reason.startswith("gain: val score 0.4000 against 0.5000 of champion version 1")
    better = register(workspace, packages[2], 0.6)
    assert (better.promoted, better.champion_before, better.aliases) == (True, 1, ("challenger", "champion"))
    assert champion(workspace, "sample") == better
    listed = list_versions(workspace, "sample")
    assert [(info.version, info.aliases) for info in listed] == [(3, better.aliases), (2, ()), (1, ())]
    assert registered_names(workspace) == ["sample"]
    stored = tracking_client(workspace).get_model_version("sample", "1")
    assert stored.tags["dataset.fingerprint"] == "abcd" and stored.description == "the first"
    assert [run.info.status for run in _runs(workspace)] == ["FINISHED"] * 6


def test_the_same_package_is_registered_once(workspace, packages):
    """A retried or repeated stage returns the version that is there."""
    first = register(workspace, packages[0], 0.5)
    assert register(workspace, packages[0], 0.9) == first
    assert len(list_versions(workspace, "sample")) == 1


def test_promotion_can_be_off_and_needs_a_number(workspace, packages):
    """Neither a run that must not promote nor a score that is no number makes a champion."""
    assert register(workspace, packages[0], 0.5, promote=False).reason == "registry.promote is false"
    assert register(workspace, packages[1], float("nan")).reason == "val_score: the val score is nan"
    with pytest.raises(RegistryError, match="no version of 'sample' is champion"):
        champion(workspace, "sample")


def test_nothing_registered_names_the_cure(workspace, packages):
    """Asking an empty registry, or for another name, says what to run and what there is."""
    with pytest.raises(RegistryError, match="no model 'sample' is registered: run `multimodal run CONF` first"):
        load_champion(workspace, "sample")
    assert list_versions(workspace, "sample") == [] and registered_names(workspace) == []
    register(workspace, packages[0], 0.5)
    with pytest.raises(RegistryError, match="no model 'other' is registered; registered are sample"):
        champion(workspace, "other")


def test_champion_is_loaded_and_answers_as_it_was_packed(workspace, packages):
    """The champion out of the registry gives the probe's stored texts."""
    register(workspace, packages[0], 0.5)
    predictor = load_champion(workspace, "sample", "cpu")
    ((row, text),) = packages[0].probe
    assert predictor.predict([row])[0].text == text


def test_a_registered_model_is_fetched_to_start_from(workspace, packages, project_folder):
    """By alias or number, the files that were registered; another form or version is refused in words."""
    first, second = (register(workspace, package, score) for package, score in zip(packages, (0.5, 0.4), strict=False))
    assert champion(workspace, "sample").version == first.version
    for uri, package in (("models:/sample@champion", packages[0]), (second.uri, packages[1])):
        folder = fetch_package(workspace, uri)
        assert initial_weights(TrainOptions(init_from=str(folder))) == initial_weights(
            TrainOptions(init_from=str(package.path))
        )
        assert load_start(str(folder)).decoder.config.tasks == tuple(package.tasks)
    overrides = [f"workspace={workspace}", "train.init_from=models:/sample@champion"]
    started = job_of(load_config("conf/sample.yaml", overrides)).train.init_from
    assert started == str(fetch_package(workspace, "models:/sample@champion"))
    for uri, problem in (("models:/sample/9", "no version '9'"), ("models:/sample", "not of the form models:/name@")):
        with pytest.raises(RegistryError, match=problem):
            fetch_package(workspace, uri)


def test_registering_leaves_the_environment_alone(workspace, packages):
    """MLflow's global tracking URI and its variable are as before, so that another workspace is not mixed up."""
    before = dict(os.environ)
    info = register(workspace, packages[0], 0.5)
    load_version(workspace, info, "cpu")
    assert {name for name in before.keys() | os.environ if before.get(name) != os.environ.get(name)} <= {
        "MLFLOW_DISABLE_TELEMETRY",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT",
    }


def test_a_damaged_version_refuses_to_load(workspace, packages):
    """A registered file that was changed is found and named."""
    info = register(workspace, packages[0], 0.5)
    (weights,) = (workspace / "mlartifacts").rglob("decoder.safetensors")
    weights.write_bytes(weights.read_bytes()[:-8] + bytes(8))
    with pytest.raises(CheckpointError, match=r"decoder\.safetensors"):
        load_version(workspace, info, "cpu")
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"decoder\.safetensors"):
        load_version(workspace, info, "cpu")


def test_a_package_that_does_not_reproduce_its_probe_is_not_registered(workspace, packages, tmp_path):
    """A probe whose stored text differs from what the loaded package writes stops the registration."""
    with pytest.raises(RegistryError, match="1 of 1 probes are answered differently: denoise: 'not this' -> "):
        register(workspace, forged(packages[0], tmp_path), 0.5)
    assert list_versions(workspace, "sample") == [] and registered_names(workspace) == []
    assert {run.info.status for run in _runs(workspace)} == {"FAILED"}


def forged(package, folder):
    """A copy of a package that says it writes `not this`, with all digests right."""
    copy = shutil.copytree(package.path, folder / package.fingerprint)
    probe, index = json.loads((copy / "probe.json").read_text()), json.loads((copy / "index.json").read_text())
    probe[0]["text"] = "not this"
    (copy / "probe.json").write_text(json.dumps(probe))
    index["files"]["probe.json"] = file_digest(copy / "probe.json")
    (copy / "index.json").write_text(json.dumps(index))
    return read_package(copy)


def test_a_version_whose_self_test_fails_or_whose_index_was_replaced_does_not_load(workspace, packages, tmp_path):
    """A forged probe is found by MLflow's own loading and by ours; ours also knows the index that was registered."""
    info = register(workspace, packages[0], 0.5)
    (stored,) = (workspace / "mlartifacts").rglob("probe.json")
    forgery = forged(packages[0], tmp_path)
    shutil.copy(forgery.path / "probe.json", stored)
    shutil.copy(forgery.path / "index.json", stored.with_name("index.json"))
    with pytest.raises(CheckpointError, match="is not the one that was registered as sample version 1"):
        load_version(workspace, info, "cpu")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Exception, match="'not this' -> "):
        patch.setenv("MLFLOW_TRACKING_URI", tracking_uri(workspace))
        mlflow.pyfunc.load_model("models:/sample@champion")


FRESH = """
import json, os, sys
import mlflow, pandas
assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/sample@champion")
table = pandas.DataFrame({
    "task": ["caption", "transcribe", "denoise"],
    "path": [sys.argv[2], sys.argv[2], None],
    "text": [None, None, "a smal circle"],
})
answers = model.predict(table, params={"num_steps": 2})
import multimodal
print(json.dumps([answers.to_dict("records"), multimodal.__file__]))
"""


def test_a_fresh_process_loads_the_champion_without_this_project(workspace, made_once, packages, tmp_path):
    """`load_model("models:/sample@champion").predict(table)` works where nothing is installed but the requirements,
    with pickles forbidden, and gives what this process gives."""
    register(workspace, packages[0], 0.5)
    image = tmp_path / "red.png"
    image.write_bytes(picture("red"))
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-c", FRESH, tracking_uri(workspace), str(image)]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    answers, source = json.loads(done.stdout.splitlines()[-1])
    predictor = load_champion(workspace, "sample", "cpu")
    quick = predictor.sampler.model_copy(update={"num_steps": 2})
    here = predictor.predict([Row("caption", path=str(image)), Row("denoise", text="a smal circle")], quick)
    assert [answers[0]["text"], answers[2]["text"]] == [answer.text for answer in here]
    assert answers[0]["error"] == "" and "no sound" in answers[1]["error"]
    assert source.startswith(str(workspace / "mlartifacts")), "the version runs the code that it was registered with"
    assert "pickle" not in done.stderr


def _runs(workspace):
    client = tracking_client(workspace)
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
