"""`multimodal sweep` as a flow: shared stages, one MLflow child run per trial, gone on with after an interruption."""

import json

import pytest
import yaml

from flows.pipeline import dry_run, read_config
from flows.sweep import show_sweep, sweep_flow
from multimodal.errors import MultimodalError
from multimodal.sweep import trial as trial_module
from tests.conftest import ROOT
from tests.flows.test_pipeline import mlflow_runs

SPACE = {"train.learning_rate": {"low": 0.001, "high": 0.01, "log": True}, "train.optimizer": {"choices": ["muon"]}}
SMALL = {"train": {"steps": 4, "eval_every": 2, "checkpoint_every": 2, "eval_samples": 2, "batch_size": 8}}


def sweep_runs(workspace, name):
    """The sweep's MLflow run and its trials', oldest first."""
    runs = mlflow_runs(workspace)
    (parent,) = [run for run in runs if run.info.run_name == f"sweep {name}"]
    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return parent, trials


@pytest.fixture(scope="module")
def sweep_file(smoke, tmp_path_factory):
    """A sweep of three short trials in the smoke run's workspace, whose stages it shares."""
    values = {"name": "tiny", "base": "conf/smoke.yaml", "trials": 3, "prune": False, "fixed": SMALL, "space": SPACE}
    path = tmp_path_factory.mktemp("conf") / "sweep.yaml"
    path.write_text(yaml.safe_dump(values | {"workspace": str(smoke.workspace)}))
    return path


@pytest.fixture(scope="module")
def earlier_runs(smoke):
    """The MLflow runs that were there before any sweep."""
    return {run.info.run_id for run in mlflow_runs(smoke.workspace)}


@pytest.fixture(scope="module")
def swept(sweep_file, earlier_runs):
    """The sweep, interrupted in its second trial and then run by the same call to its end."""
    train = trial_module.train
    calls = []

    def interrupted(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with pytest.MonkeyPatch.context() as cut:
            cut.setattr(trial_module, "train", interrupted)
            with pytest.raises(BaseException) as caught:
                sweep_flow(str(sweep_file))
            assert len(calls) == 2, caught.value
        return sweep_flow(str(sweep_file))


def test_an_interrupted_sweep_goes_on_in_the_same_mlflow_run(smoke, swept):
    """Three trials ended, each a FINISHED child with values and curves; the interrupted one is KILLED, none lost."""
    parent, trials = sweep_runs(smoke.workspace, "tiny")
    assert parent.info.status == "FINISHED"
    assert [record.end for record in swept.trials] == ["complete"] * 3
    assert sorted(run.info.status for run in trials) == ["FINISHED", "FINISHED", "FINISHED", "KILLED"]
    by_id = {run.info.run_id: run for run in trials}
    assert [run.data.tags.get("trial.continues") for run in trials] == [None, None, "1", None]
    for record in swept.trials:
        run = by_id[record.run_id]
        assert run.data.params == {key: str(value) for key, value in record.params.items()}
        assert run.data.metrics["val_score"] == pytest.approx(record.score)
        assert "train/loss" in run.data.metrics and list(record.curve) == [2, 4]
    assert parent.data.tags["sweep.best.run_id"] == swept.best.run_id
    assert parent.data.metrics["sweep/best"] == pytest.approx(swept.best.score)


def test_stages_before_train_are_shared(smoke, swept, earlier_runs):
    """However many trials there are, dataset and latents are those that the workspace had."""
    runs = [run for run in mlflow_runs(smoke.workspace) if run.info.run_id not in earlier_runs]
    shared = [run.data.tags["stage.state"] for run in runs if run.data.tags["stage"] in ("ingest", "encode")]
    assert len(shared) >= 4 and set(shared) == {"unchanged"}
    assert {run.data.tags["stage"] for run in runs} == {"pipeline", "ingest", "encode", "pairs", "sweep", "trial"}


def test_the_results_are_artifacts(smoke, swept, tmp_path):
    """sweep.html, best.yaml and trials are stored with the sweep's run; so is the plot where there is one."""
    from multimodal.tracking import tracking_client

    parent, _ = sweep_runs(smoke.workspace, "tiny")
    stored = {item.path for item in tracking_client(smoke.workspace).list_artifacts(parent.info.run_id)}
    assert {"sweep.html", "best.yaml", "trials.json", "config.yaml"} <= stored
    assert {path.name for path in swept.files} <= stored
    assert ("importance.svg" in stored) == bool(swept.importances)


def test_the_best_configuration_finds_its_training_done(smoke, swept, project_folder):
    """A run of best.yaml shares dataset and latents, and its training is the trial's."""
    config = read_config(str(swept.config))
    assert config.train.learning_rate == swept.best.params["train.learning_rate"]
    assert [item.runs for item in dry_run(config, "encode")] == [False, False, False]
    trained = [json.loads(path.read_text()) for path in smoke.workspace.glob("checkpoints/*/index.json")]
    rates = [index["parts"]["train"]["learning_rate"] for index in trained]
    assert swept.best.params["train.learning_rate"] in rates


def test_a_finished_sweep_has_nothing_to_do_and_a_longer_one_goes_on(smoke, swept, sweep_file, project_folder, capsys):
    """Run again it trains nothing; with one trial more it trains one; the console names what to run next."""
    again = sweep_flow(str(sweep_file))
    assert again.trials == swept.trials
    longer = sweep_flow(str(sweep_file), ["trials=4"])
    assert longer.trials[:3] == swept.trials and len(longer.trials) == 4
    show_sweep(longer, smoke.workspace)
    assert f"multimodal run {longer.config}" in capsys.readouterr().out


def test_trials_that_all_fail_stop_the_sweep(smoke, sweep_file, project_folder):
    """Options that do not fit together fail their trials; three in a row end the sweep with the reason."""
    space = "space={decoder.num_heads: {choices: [5, 7, 11]}}"
    with pytest.raises(MultimodalError, match=r"3 trials in a row failed.*must be a multiple of 2 \* num_heads"):
        sweep_flow(str(sweep_file), [space, "name=broken"])
    parent, trials = sweep_runs(smoke.workspace, "broken")
    assert parent.info.status == "FAILED"
    assert [run.info.status for run in trials] == ["FAILED"] * 3
    assert all(run.data.tags["trial.end"] == "failed" for run in trials)


def test_the_command_says_what_it_would_do(smoke, sweep_file, command):
    """`--dry-run` names the shared stages and the space, and starts nothing."""
    result = command("sweep", sweep_file, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "up to 3" in result.stdout and "0.001 to 0.01, logarithmic" in " ".join(result.stdout.split())
