import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client

from flows.pipeline import dry_run, pipeline, read_config
from flows.stage import STAGES, StagePlan
from multimodal.errors import ConfigError, EncoderError
from multimodal.tracking import DATABASE, FLOW_RUN_ID
from multimodal.verification import verify
from tests.conftest import ROOT
from tests.flows.conftest import SMOKE

SMOKE_STAGES = [stage for stage in STAGES if stage != "pretrain"]


def mlflow_runs(workspace, experiment="multimodal-smoke"):
    """All runs of an experiment, oldest first."""
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace / DATABASE}")
    found = client.get_experiment_by_name(experiment)
    return list(reversed(client.search_runs([found.experiment_id], max_results=1000))) if found else []


def stage_runs(workspace, parent):
    """The child runs of a pipeline run, by stage."""
    children = [run for run in mlflow_runs(workspace) if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return {run.data.tags["stage"]: run for run in children}


def pipeline_runs(workspace):
    """The parent runs, oldest first."""
    return [run for run in mlflow_runs(workspace) if run.data.tags["stage"] == "pipeline"]


def test_the_smoke_pipeline_leaves_a_champion_a_report_and_scores_of_all_tasks(smoke):
    """One run goes from sources to a champion, with a report and scores of all five tasks."""
    result = smoke.first
    assert {str(score.task) for score in result.report.scores} == set(result.dataset.by_task)
    assert len(result.dataset.by_task) == 5
    assert result.report.html.stat().st_size > 10_000
    assert result.version.version == 1
    assert set(result.version.aliases) == {"champion", "challenger"}


def test_the_second_run_changes_nothing_and_says_why(smoke):
    """With nothing changed every stage is skipped, names what it compared, and the same version is returned."""
    lines = [line for line in smoke.second_output.splitlines() if line.split()[:1] and line.split()[0] in STAGES]
    assert [line.split()[0] for line in lines] == SMOKE_STAGES
    assert all(" unchanged: " in line and "code" in line for line in lines)
    assert smoke.second.version == smoke.first.version
    assert smoke.second.report == smoke.first.report


def test_the_first_run_says_that_there_is_no_earlier_result(smoke):
    """A stage that runs says why; the first time there is nothing to compare with."""
    plan = dry_run(read_config(str(ROOT / SMOKE), [f"workspace={smoke.workspace}-new"]))
    assert [(item.stage, item.runs) for item in plan] == [(stage, True) for stage in SMOKE_STAGES]
    assert plan[0].why == "no earlier result"
    assert not Path(f"{smoke.workspace}-new").exists()


def test_every_pipeline_run_is_one_mlflow_run_with_a_child_per_stage(smoke):
    """Both runs are in MLflow, finished, with children that say whether they ran, and the way back to Prefect."""
    first, second = pipeline_runs(smoke.workspace)[:2]
    for parent, state in ((first, "ran"), (second, "unchanged")):
        children = stage_runs(smoke.workspace, parent)
        assert sorted(children) == sorted(SMOKE_STAGES)
        assert {run.data.tags["stage.state"] for run in children.values()} == {state}
        assert {run.info.status for run in [parent, *children.values()]} == {"FINISHED"}
        assert parent.data.tags[FLOW_RUN_ID]
    assert "test/caption/cider_d/shuffled" in stage_runs(smoke.workspace, first)["evaluate"].data.metrics
    assert first.data.params["train.steps"] == "20"


def test_the_merkle_root_is_on_the_run_whether_ingest_ran_or_not(smoke):
    """On the pipeline's run and on the ingest stage's, with the value that lies in the dataset's index."""
    root = smoke.first.dataset.merkle_root
    assert len(root) == 64
    for parent in pipeline_runs(smoke.workspace)[:2]:
        for run in (parent, stage_runs(smoke.workspace, parent)["ingest"]):
            assert run.data.tags["dataset.merkle_root"] == root


def test_the_whole_workspace_is_as_written(smoke):
    """All that the stages left is covered by digests, and nothing differs, verdicts of the gate included."""
    found = [one for one in verify(smoke.workspace) if one.kind != "stage"]
    assert {one.kind for one in found} == {
        "dataset",
        "ledger",
        "latents",
        "pair scores",
        "checkpoint",
        "package",
        "report",
    }
    assert [(one.kind, one.differences, one.notes) for one in found if one.differences or one.notes] == []


def test_every_stage_leaves_its_artifacts_in_prefect(smoke):
    """A markdown summary and a table per stage; progress for the stages that take long."""
    parent = pipeline_runs(smoke.workspace)[0]
    with get_client(sync_client=True) as client:
        artifacts = client.request("POST", "/artifacts/filter", json={}).json()
        flow_run = client.read_flow_run(parent.data.tags[FLOW_RUN_ID])
    keys = {artifact["key"] for artifact in artifacts}
    assert flow_run.state.is_completed()
    assert {f"{stage}-{kind}" for stage in SMOKE_STAGES for kind in ("summary", "table")} <= keys
    assert {"encode-progress", "train-progress", "ingest-ledger"} <= keys


def test_a_dry_run_names_the_changed_option_and_does_nothing(smoke, project_folder):
    """After one option was changed, the stages before it are unchanged and the stage itself names old and new."""
    before = sorted(smoke.workspace.rglob("*"))
    plan = dry_run(read_config(SMOKE, [*smoke.overrides, "train.steps=21"]))
    assert [item.runs for item in plan] == [False, False, False, True, True, True]
    assert plan[3].why == "changed: train.steps 20 -> 21"
    assert plan[4].why == "depends on train"
    assert sorted(smoke.workspace.rglob("*")) == before


def test_a_result_whose_files_are_gone_is_made_again(smoke, tmp_path):
    """A remembered record does not count when the folder that it names is no longer there."""
    config = read_config(str(ROOT / SMOKE), [f"workspace={tmp_path}"])
    plan = StagePlan.of(config, "ingest", {"inputs": "x"})
    info = smoke.first.dataset
    plan.remember(type(info), info)
    assert plan.result(type(info)) == info
    gone = type(info)(**{name: getattr(info, name) for name in info.__dataclass_fields__} | {"path": tmp_path / "gone"})
    plan.remember(type(info), gone)
    assert plan.result(type(info)) is None


def test_a_failing_stage_leaves_failed_runs_on_both_sides(smoke, project_folder):
    """An encoder that is not there fails the flow run in Prefect, and stage and pipeline in MLflow."""
    with pytest.raises(EncoderError):
        pipeline(SMOKE, [*smoke.overrides, "encode.image.weights=no/such/folder"])
    parent = pipeline_runs(smoke.workspace)[-1]
    children = stage_runs(smoke.workspace, parent)
    assert parent.info.status == "FAILED"
    assert {stage: run.info.status for stage, run in children.items()} == {"ingest": "FINISHED", "encode": "FAILED"}
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(parent.data.tags[FLOW_RUN_ID]).state.is_failed()


def test_a_killed_run_is_closed_as_killed_at_the_next_start(smoke, command, prefect_server):
    """kill -9 in the middle of training leaves open runs; the next start closes them."""
    known = len(pipeline_runs(smoke.workspace))
    arguments = ["train", SMOKE, *smoke.overrides, "train.steps=1000000", "train.eval_every=1000000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "PREFECT_API_URL": prefect_server},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            runs = pipeline_runs(smoke.workspace)
            if len(runs) > known and "train" in stage_runs(smoke.workspace, runs[-1]):
                break
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    parent = pipeline_runs(smoke.workspace)[-1]
    assert stage_runs(smoke.workspace, parent)["train"].info.status == "RUNNING"
    printed = command("ingest", SMOKE, *smoke.overrides)
    assert printed.returncode == 0, printed.stderr
    assert f"process {process.pid}" in printed.stdout
    by_id = {run.info.run_id: run for run in mlflow_runs(smoke.workspace)}
    assert by_id[parent.info.run_id].info.status == "KILLED"
    assert stage_runs(smoke.workspace, parent)["train"].info.status == "KILLED"


def test_a_task_without_its_encoder_is_refused_before_any_work(tmp_path, project_folder):
    """A source whose task needs an encoder that the configuration does not name stops the run at once."""
    with pytest.raises(ConfigError, match=r"add encode\.image"):
        read_config(SMOKE, [f"workspace={tmp_path}/new", "encode.image=null"])
    assert not (tmp_path / "new").exists()


def test_ingest_alone_needs_no_encoders(tmp_path, project_folder):
    """A configuration of sources and nothing else makes a dataset; what comes after says what is missing."""
    conf = tmp_path / "only.yaml"
    source = "{name: scenes, path: data/sample/scenes.tsv, task: caption, limit: 3}"
    conf.write_text(f"name: only\nworkspace: {tmp_path}/new\ningest:\n  sources:\n    - {source}\n")
    config = read_config(str(conf), until="ingest")
    assert [plan.stage for plan in dry_run(config, "ingest")] == ["ingest"]
    for stage in ("encode", "train", "register"):
        with pytest.raises(ConfigError, match=r"needs an encoder in every stage after ingest; add encode\.image"):
            read_config(str(conf), until=stage)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encode.image.kind=whisper", r"encode\.image\.kind: 'whisper' is no image encoder; use open_clip"),
        ("decoder.num_heads=7", r"decoder\.hidden_size 48 must be a multiple of 2 \* num_heads 14"),
        ("train.tasks={caption: 0}", r"train\.tasks gives none of the sources' tasks"),
    ],
)
def test_a_contradiction_is_refused_before_any_work(project_folder, override, message):
    """What a later stage could not work with stops the run at once."""
    with pytest.raises(ConfigError, match=message):
        read_config(SMOKE, [override])
