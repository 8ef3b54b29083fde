"""Runs in MLflow on a real SQLite file."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from multimodal.sample import Task
from multimodal.tracking import (
    FLOW_RUN_ID,
    HOST,
    LOCK,
    PID,
    STARTED,
    close_orphans,
    file_lock,
    flatten,
    open_run,
    prepare_tracking,
    runs,
    score_metrics,
    tracking_client,
    tracking_uri,
    ui_command,
)

pytest_plugins = ("tests.mlflow_fixtures",)


def children(run):
    """The child runs of a parent run, oldest first."""
    parent = f"tags.mlflow.parentRunId = '{run.run_id}'"
    return run.client.search_runs([run.experiment_id], parent, order_by=["attributes.start_time ASC"])


def status(client, run_id):
    return client.get_run(run_id).info.status


def test_environment_names_the_tracking_server(workspace, monkeypatch):
    """MLFLOW_TRACKING_URI wins over the workspace's database."""
    assert tracking_uri(workspace) == f"sqlite:///{workspace}/mlflow.db"
    assert str(workspace / "mlflow.db") in ui_command(workspace)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri(workspace) == "http://127.0.0.1:5000"
    assert "127.0.0.1:5000" in ui_command(workspace)


TWINS = """
import os, sys, pathlib
from multimodal.tracking import database, open_run
make = database._upgrade
database._upgrade = lambda path: (os.write(1, b"made\\n"), make(path))
twins = []
for _ in range(2):
    twins.append(os.fork())
    if twins[-1] == 0:
        with open_run(pathlib.Path(sys.argv[1]), "twins") as run:
            run.log_metrics({"train/loss": 1.0})
        os._exit(0)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in twins))
"""


def test_two_processes_that_start_at_once_make_one_sound_database(tmp_path):
    """Two processes that open a run in the same empty workspace at the same moment both succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-c", TWINS, str(tmp_path / "workspace")]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "made\n", "the second waits for the first"
    client = MlflowClient(f"sqlite:///{tmp_path}/workspace/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'twins'")
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FINISHED"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["workspace"], "nothing is left in the working directory"


def test_database_of_another_mlflow_is_copied_and_upgraded(workspace):
    """A database that was prepared by another MLflow is kept as a copy before its schema is brought up to date."""
    (workspace / LOCK).write_text("3.0.0")
    prepare_tracking(workspace)
    (copy,) = workspace.glob("mlflow.db.before-*")
    assert sqlite3.connect(copy).execute("select count(*) from experiments").fetchone() == (1,)
    assert (workspace / LOCK).read_text() != "3.0.0"


def test_telemetry_is_off_unless_asked_for(workspace, monkeypatch):
    """Preparing turns MLflow's telemetry off, but leaves an explicit choice alone."""
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    prepare_tracking(workspace)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    prepare_tracking(workspace)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"


def test_a_pipeline_run_has_a_child_per_stage(workspace):
    """Parameters, tags, dataset, metrics and artifacts are found again where the module says they are."""
    report = workspace / "report.html"
    report.write_text("<p>fine</p>")
    with open_run(workspace, "sample", {"train": {"steps": 7, "tasks": ["a", "b"]}}, {FLOW_RUN_ID: "f-1"}) as run:
        run.log_dataset("sample", "abcd", workspace, {"rows": 9, "kept": 8})
        with run.stage("train") as stage:
            stage.explain("ran", "no earlier result", "0123")
            for step in range(3):
                stage.log_metrics({"train/loss": 1 / (step + 1)}, step)
        with run.stage("evaluate") as stage:
            stage.log_file(report)
    client = tracking_client(workspace)
    parent = client.get_run(run.run_id)
    assert [item.path for item in client.list_artifacts(run.run_id)] == ["config.yaml"]
    assert parent.data.params == {"train.steps": "7", "train.tasks.0": "a", "train.tasks.1": "b"}
    assert parent.data.tags[FLOW_RUN_ID] == "f-1" and parent.data.metrics["dataset/kept"] == 8
    assert [item.dataset.digest for item in parent.inputs.dataset_inputs] == ["abcd"]
    train, evaluate = children(run)
    assert [train.info.run_name, evaluate.info.run_name] == ["train", "evaluate"]
    assert train.data.tags["stage.reason"] == "no earlier result"
    history = client.get_metric_history(train.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert train.data.metrics["seconds"] >= 0
    assert [item.path for item in client.list_artifacts(evaluate.info.run_id)] == ["report.html"]
    assert {status(client, item.info.run_id) for item in (parent, train, evaluate)} == {"FINISHED"}
    assert (workspace / "mlartifacts").is_dir(), "artifacts live in the workspace"


def test_losses_are_seen_while_the_stage_runs_in_few_writes(workspace, monkeypatch):
    """Metrics of a running stage can be read, and a thousand of them take a handful of writes."""
    writes = []
    real = MlflowClient.log_batch
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *args, **kw: (writes.append(kw), real(*args, **kw))[1])
    with open_run(workspace, "sample") as run, run.stage("train") as stage:
        stage.log_metrics({"train/loss": 3.0}, 0)
        assert run.client.get_run(stage.run_id).data.metrics["train/loss"] == 3.0
        for step in range(1, 900):
            stage.log_metrics({"train/loss": 2.0}, step)
        monkeypatch.setattr(runs, "FLUSH_SECONDS", 0.0)
        stage.log_metrics({"train/loss": 1.0}, 900)
        assert run.client.get_run(stage.run_id).data.metrics["train/loss"] == 1.0
        assert len(run.client.get_metric_history(stage.run_id, "train/loss")) == 901
    assert len(writes) <= 8


@pytest.mark.parametrize(("error", "expected"), [(ValueError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_an_error_closes_stage_and_pipeline(workspace, error, expected):
    """An exception ends both runs as FAILED, an interrupt as KILLED, and what was noted is written."""
    with pytest.raises(type(error)), open_run(workspace, "sample") as run, run.stage("train") as stage:
        stage.log_metrics({"train/loss": 1.0})
        stage.log_metrics({"train/loss": 0.5}, 1)
        raise error
    assert {status(run.client, item.run_id) for item in (run, stage)} == {expected}
    assert run.client.get_run(stage.run_id).data.metrics["train/loss"] == 0.5


def test_the_runs_of_a_killed_process_are_closed_by_the_next_start(workspace):
    """Runs of a process that died by SIGKILL become KILLED; the living process's own run stays RUNNING."""
    code = (
        "import sys, pathlib, time\n"
        "from multimodal.tracking import open_run\n"
        "with open_run(pathlib.Path(sys.argv[1]), 'sample') as run, run.stage('train') as stage:\n"
        "    print(run.run_id, stage.run_id, flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(workspace)], stdout=subprocess.PIPE, text=True)
    run_ids = process.stdout.readline().split()
    client = tracking_client(workspace)
    with open_run(workspace, "sample") as mine:
        assert close_orphans(workspace) == (), "both processes live"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert {orphan.run_id for orphan in close_orphans(workspace)} == set(run_ids)
        assert {status(client, run_id) for run_id in run_ids} == {"KILLED"}
        assert status(client, mine.run_id) == "RUNNING"
        assert close_orphans(workspace) == ()


def test_a_process_number_that_was_given_away_again_does_not_hide_an_orphan(workspace):
    """A run is an orphan when its number belongs to a process that started at another time; other machines' are not."""
    client = tracking_client(workspace)
    with open_run(workspace, "sample") as mine:
        mine_tags = client.get_run(mine.run_id).data.tags
        old = {HOST: mine_tags[HOST], PID: str(os.getpid()), STARTED: "1000.0"}
        orphan = client.create_run(mine.experiment_id, tags=old).info.run_id
        elsewhere = client.create_run(mine.experiment_id, tags=old | {HOST: "another-machine"}).info.run_id
        assert [found.run_id for found in close_orphans(workspace)] == [orphan]
        assert status(client, elsewhere) == "RUNNING"


def test_long_values_are_cut_and_many_parameters_take_several_batches(workspace):
    """A configuration of hundreds of keys with a very long value is logged."""
    with open_run(workspace, "sample", {"many": list(range(250)), "long": "x" * 9000}) as run:
        pass
    params = run.client.get_run(run.run_id).data.params
    assert len(params) == 251 and params["many.249"] == "249"
    assert len(params["long"]) == 500 and params["long"].endswith("...")


def test_a_deleted_experiment_is_restored(workspace):
    """Deleting the experiment in the dashboard does not stop the next run."""
    with open_run(workspace, "sample") as first:
        pass
    first.client.delete_experiment(first.experiment_id)
    with open_run(workspace, "sample") as second:
        pass
    assert second.experiment_id == first.experiment_id


def test_flatten_names_every_leaf():
    """Nested keys are joined by dots, list entries by their index, and empty collections stay visible."""
    assert flatten({"a": {"b": [1, {"c": None}], "d": {}}, "e": ()}) == {
        "a.b.0": "1", "a.b.1.c": "None", "a.d": "{}", "e": "()",
    }  # fmt: skip


def test_scores_have_their_controls_beside_them():
    """Every score is named by split, task and metric, its three controls below it."""
    from multimodal.evaluation.score import TaskScore

    score = TaskScore(Task.CAPTION, "cider_d", 3.0, 0.1, 1.0, 0.2, True, {}, "signature")
    assert score_metrics([score], "test") == {
        "test/caption/cider_d": 3.0,
        "test/caption/cider_d/constant": 0.1,
        "test/caption/cider_d/nearest": 1.0,
        "test/caption/cider_d/shuffled": 0.2,
    }


def test_preparing_again_costs_nothing(workspace):
    """A prepared database is recognised without opening it."""
    began = time.monotonic()
    for _ in range(20):
        prepare_tracking(workspace)
    assert time.monotonic() - began < 1.0


def test_a_run_that_ended_is_gone_on_with(workspace):
    """An interrupted run that is opened again by its id gets further children, runs, and ends FINISHED."""
    with pytest.raises(KeyboardInterrupt), open_run(workspace, "sample", {"a": 1}, name="sweep") as first:
        raise KeyboardInterrupt
    client = tracking_client(workspace)
    assert status(client, first.run_id) == "KILLED"
    with open_run(workspace, "sample", {"a": 2}, run_id=first.run_id) as again:
        assert again.run_id == first.run_id
        assert status(client, first.run_id) == "RUNNING"
        assert client.get_run(first.run_id).data.tags[PID] == str(os.getpid())
        with again.stage("trial"):
            pass
    run = client.get_run(first.run_id)
    assert (run.info.status, run.info.run_name, run.data.params) == ("FINISHED", "sweep", {"a": "1"})
    assert [child.info.run_name for child in children(again)] == ["trial"]


def test_a_run_that_is_gone_is_opened_anew(workspace):
    """An id that the store does not know, or that was deleted, gives a new run."""
    with open_run(workspace, "sample") as first:
        pass
    tracking_client(workspace).delete_run(first.run_id)
    for run_id in (first.run_id, "0" * 32):
        with open_run(workspace, "sample", run_id=run_id) as second:
            pass
        assert second.run_id not in (first.run_id, "0" * 32)


def test_a_lock_that_is_held_is_refused_at_once_where_asked(tmp_path):
    """Who does not want to wait for a lock gets an error instead, and the lock later."""
    path = tmp_path / "one.lock"
    with file_lock(path), pytest.raises(BlockingIOError), file_lock(path, wait=False):
        pass
    with file_lock(path, wait=False) as held:
        assert held == path
