"""Who is champion: the gate on real evaluations, two that finish at once, rollback, gc, the lease."""

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from multimodal.errors import RegistryError
from multimodal.evaluation.predictions import SCHEMA
from multimodal.promotion import GateOptions
from multimodal.registry import (
    champion,
    champion_history,
    evidence_of,
    facts_of,
    list_versions,
    promote_version,
    register_model,
    removable_versions,
    remove_versions,
    rollback,
    tags_of,
    the_version,
    version_bytes,
)
from multimodal.registry.champions import move_alias
from multimodal.registry.locks import LEASE, lease
from multimodal.tracking import open_run, tracking_client
from tests.conftest import ROOT

pytest_plugins = ("tests.mlflow_fixtures",)


class Registry:
    """A workspace whose versions are made without the seconds that logging a package takes."""

    def __init__(self, workspace, name="sample"):
        self.workspace, self.name, self.client = workspace, name, tracking_client(workspace)
        self.client.create_registered_model(name)

    def version(self, before=None):
        """A bare version; champion if `before` is given (0: of none)."""
        found = self.client.create_model_version(self.name, "nowhere", tags={"fingerprint": "f"})
        number = int(found.version)
        if before is not None:
            move_alias(self.client, self.name, number, before or None, "test")
        return the_version(self.workspace, self.name, str(number))


@pytest.fixture
def registry(workspace):
    return Registry(workspace)


def evaluation(folder, values, gap=0.3, leaked=0, metric="exact_match", worst=0.5):
    """A folder as the evaluate stage leaves it, with a score per sample."""
    folder.mkdir()
    entry = {
        "task": "denoise", "metric": metric, "value": float(np.mean(values)), "higher_is_better": True,
        "signature": "s", "conditioning_gap": gap, "constant": 0.0, "nearest": 0.0, "shuffled": 0.0,
    }  # fmt: skip
    facts = {"samples": len(values), "ms_per_sample": 4.0, "main_metric": metric}
    facts |= {"worst_slice": {"slice": "source x", "metric": metric, "value": worst, "samples": 30}}
    report = {"scores": [entry], "slices": [], "tasks": {"denoise": facts}, "split": "test"}
    report["decontamination"] = {"test_in_train": leaked, "checked": len(values)}
    (folder / "report.json").write_text(json.dumps(report))
    rows = [
        {"sample_id": str(i), "task": "denoise", "content_id": str(i), "references": ["x"], "input": "y", "style": "",
         "metric": metric, "score": float(value)}
        for i, value in enumerate(values)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "predictions.parquet")
    return folder


def test_versions_are_judged_by_pairs_of_their_stored_predictions(workspace, small_package, tmp_path):
    """The champion's predictions come out of the registry; verdicts are in the tags; facts are stored."""
    generator = np.random.default_rng(0)
    base = generator.random(100)
    worse, better = base + generator.normal(0, 0.1, 100), base + 0.1 + generator.normal(0, 0.1, 100)
    infos = []
    for number, values in enumerate((base, worse, better)):
        package = copy_of(small_package, f"f{number}")
        with open_run(workspace, "sample") as run, run.stage("register") as stage:
            folder = evaluation(tmp_path / str(number), values)
            facts = {"config": {"seed": number}}
            infos.append(
                register_model(workspace, "sample", package, stage.run_id, 0.5, evaluation=folder, facts=facts)
            )
    assert [info.promoted for info in infos] == [True, False, True]
    assert "by pairs of 100 test contents of 1 task" in infos[2].reason
    tags = tags_of(workspace, infos[1])
    assert tags["gate.gain"] == "failed" and tags["gate.conditioning_gap"] == "passed"
    assert float(tags["gate.gain.value"]) < 0 == float(tags["gate.gain.limit"])
    assert [rule.name for rule in infos[0].gate if not rule.passed] == []
    assert champion_history(workspace, "sample") == [1, 3]
    assert facts_of(workspace, infos[2]) == {"config": {"seed": 2}}
    assert len(evidence_of(workspace, infos[2]).tasks["denoise"].values) == 100
    assert version_bytes(workspace, infos[0]) > 10_000

    back = rollback(workspace, "sample")  # and now the second may go, with its files; the first and third may not
    assert back.version == 1 and champion_history(workspace, "sample") == [1]
    promote_version(workspace, infos[2], "again")
    (mine,) = [
        path for path in (workspace / "mlartifacts").rglob("MLmodel") if "package_fingerprint: f1" in path.read_text()
    ]
    assert [info.version for info in removable_versions(workspace, "sample")] == [2]
    assert [info.version for info in remove_versions(workspace, "sample", [1, 2, 3])] == [2]
    assert [info.version for info in list_versions(workspace, "sample")] == [3, 1] and not mine.exists()


def copy_of(package, fingerprint):
    """The same package under another fingerprint."""
    return type(package)(package.path, fingerprint, package.tasks, package.sampler, package.probe)


def test_approval_is_left_to_a_person_and_judged_again_if_the_champion_changed(registry, small_package, tmp_path):
    """A version that passed waits; when another won meanwhile it must beat that one too."""
    workspace = registry.workspace
    values = np.linspace(0, 1, 40)
    waiting = []
    for number, more in enumerate((0.1, 0.2)):
        with open_run(workspace, "sample") as run, run.stage("register") as stage:
            folder = evaluation(tmp_path / str(number), values + more + 0.01 * (np.arange(40) % 2))
            package = copy_of(small_package, f"f{number}")
            waiting.append(
                register_model(workspace, "sample", package, stage.run_id, 0.5, evaluation=folder, approval=True)
            )
    assert [info.promoted for info in waiting] == [False, False]
    assert waiting[0].reason.startswith("waits for a person's approval; passed all")
    assert promote_version(workspace, waiting[1], "approved", GateOptions()).promoted
    refused = promote_version(workspace, waiting[0], "approved", GateOptions())
    assert not refused.promoted and refused.reason.startswith("gain: gain -0.1000 over champion version 2")
    assert champion(workspace, "sample").version == 2
    assert promote_version(workspace, refused, "by hand").aliases == ("champion",), "a person may overrule the gate"


def test_rollback_goes_back_step_by_step_and_says_when_there_is_no_way(registry):
    """Three champions, two steps back; what was rolled back is out of the history; tags keep the times."""
    for before in (0, 1, 2):
        registry.version(before)
    assert champion_history(registry.workspace, "sample") == [1, 2, 3]
    assert rollback(registry.workspace, "sample").version == 2
    assert rollback(registry.workspace, "sample").version == 1
    with pytest.raises(RegistryError, match="version 1 is the only champion of 'sample'"):
        rollback(registry.workspace, "sample")
    tags = tags_of(registry.workspace, the_version(registry.workspace, "sample", "3"))
    assert tags["champion.until"] >= tags["champion.since"] and tags["champion.note"] == "rolled back"
    with pytest.raises(RegistryError, match="no model 'other' is registered"):
        rollback(registry.workspace, "other")


def test_gc_keeps_the_champion_three_before_it_and_what_has_an_alias(registry):
    """Six champions and a challenger: only the first two may go, and a version rolled back over skips deleted ones."""
    for before in range(6):
        registry.version(before)
    challenger = registry.version()
    registry.client.set_registered_model_alias("sample", "challenger", str(challenger.version))
    assert [info.version for info in removable_versions(registry.workspace, "sample")] == [2, 1]
    registry.client.delete_model_version("sample", "5")
    assert rollback(registry.workspace, "sample").version == 4


def test_a_history_that_was_never_written_is_found_from_the_versions(registry):
    """Registries of before this feature have the tag champion_before; the champion may also be moved by hand."""
    for before in ("", "1", "2"):
        registry.client.create_model_version("sample", "x", tags={"champion_before": before})
    registry.client.set_registered_model_alias("sample", "champion", "3")
    assert champion_history(registry.workspace, "sample") == [1, 2, 3]
    assert rollback(registry.workspace, "sample").version == 2
    registry.client.set_registered_model_alias("sample", "champion", "1")
    assert champion_history(registry.workspace, "sample") == [1, 2, 1]


def test_the_alias_does_not_move_when_the_champion_is_no_longer_the_one_compared_with(registry):
    """Compare and set: a version that was judged against version 1 does not replace version 2."""
    registry.version(0)
    registry.version(1)
    third = registry.version()
    with pytest.raises(RegistryError, match="became version 2 while version 3 was compared with 1"):
        move_alias(registry.client, "sample", third.version, 1, "too late")
    assert champion(registry.workspace, "sample").version == 2


RACE = """
import sys, time
from pathlib import Path
from multimodal.promotion import Evidence, GateOptions
from multimodal.registry import champion
from multimodal.registry.champions import judge, move_alias
from multimodal.registry.locks import registry_lock
from multimodal.tracking import tracking_client
workspace, version = Path(sys.argv[1]), int(sys.argv[2])
client = tracking_client(workspace)
Path(sys.argv[3]).touch()
while not Path(sys.argv[4]).exists():
    time.sleep(0.01)
with registry_lock(client, workspace, "sample"):
    decision, before = judge(workspace, "sample", Evidence(0.6, version=version), GateOptions())
    time.sleep(0.3)  # the other would judge in this time, were it not for the lock
    if decision.passed:
        move_alias(client, "sample", version, before, "won")
print(decision.passed)
"""


def test_of_two_processes_that_finish_at_once_one_wins(registry, tmp_path):
    """Both are as good and better than the champion: the first takes its place, the second does not beat the first."""
    for score in ("0.5", "0.6", "0.6"):
        registry.client.create_model_version("sample", "x", tags={"val_score": score})
    move_alias(registry.client, "sample", 1, None, "first")
    ready, go = [tmp_path / "2", tmp_path / "3"], tmp_path / "go"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(registry.workspace), flag.name, str(flag), str(go)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for flag in ready
    ]  # fmt: skip
    deadline = time.monotonic() + 300
    while not all(flag.exists() for flag in ready) and time.monotonic() < deadline:
        time.sleep(0.05)
    go.touch()
    printed = [racer.communicate(timeout=300)[0].strip() for racer in racers]
    assert sorted(printed) == ["False", "True"]
    winner = 2 + printed.index("True")
    assert champion_history(registry.workspace, "sample") == [1, winner]


def test_a_lease_is_held_by_one_at_a_time_and_outlives_nobody(registry):
    """Where there is no common file system, a tag of the model keeps writers apart; a dead writer's lease expires."""
    inside, most, lock = 0, 0, threading.Lock()

    def work():
        nonlocal inside, most
        with lease(MlflowClient(registry.client.tracking_uri), "sample", settle=0.5):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.1)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    registry.client.set_registered_model_tag("sample", LEASE, f"dead {time.time() - 100:.3f}")
    with lease(registry.client, "sample", settle=0.01, lasts=99):
        pass
    registry.client.set_registered_model_tag("sample", LEASE, f"alive {time.time() + 5:.3f}")
    with pytest.raises(RegistryError, match="held by another process"), lease(registry.client, "sample", 0.01, 0.05):
        pass
