"""The register stage on the smoke pipeline, and a person's approval on a real Prefect server."""

import threading
import time

from mlflow import MlflowClient
from prefect import flow, resume_flow_run
from prefect.client.orchestration import get_client

from flows.register import Approval, ask_approval
from multimodal.promotion import Rule
from multimodal.registry import ModelVersionInfo, description_of, evidence_of, facts_of, tags_of
from multimodal.tracking import tracking_uri

VERSION = ModelVersionInfo(
    "m", 3, "models:/m/3", (), 0.5, 2, False, "", "f", "r", (Rule("gain", 0.1, 0, True, "good"),)
)


def test_every_verdict_is_in_the_tags_and_in_a_prefect_table(smoke):
    """What the gate said of the first version can be read in MLflow and in Prefect."""
    info = smoke.first.version
    tags = tags_of(smoke.workspace, info)
    names = {rule.name for rule in info.gate}
    assert names == {
        "gain", "tasks", "worst_slice", "conditioning_gap", "latency", "decontamination", "val_score"
    }  # fmt: skip
    assert {tags[f"gate.{name}"] for name in names} <= {"passed", "failed"}
    with get_client(sync_client=True) as client:
        body = {"artifacts": {"key": {"any_": ["promotion-gate"]}}}
        (artifact,) = client.request("POST", "/artifacts/latest/filter", json=body).json()
    assert all(name in artifact["data"] for name in names)


def test_the_version_carries_its_card_its_evaluation_and_its_facts(smoke):
    """The description is the model card; report, predictions and facts are artifacts of the registering run."""
    info = smoke.first.version
    card = description_of(smoke.workspace, info)
    assert card.startswith(f"# {info.name} version {info.version}\n") and "## How to load" in card
    assert smoke.first.dataset.digest in card and str(smoke.workspace) not in card
    facts = facts_of(smoke.workspace, info)
    assert facts["config"]["train"]["steps"] == 20
    assert set(facts["package"]["encoders"]) == {"image", "audio", "text"}
    assert evidence_of(smoke.workspace, info).report["split"] == "test"
    client = MlflowClient(tracking_uri(smoke.workspace))
    stored = {file.path for file in client.list_artifacts(info.run_id, "evaluation")}
    assert {f"evaluation/{name}" for name in ("report.json", "predictions.parquet", "facts.json")} <= stored


@flow
def asks(minutes: float) -> Approval | None:
    """Asks for approval, as the register flow does."""
    return ask_approval(VERSION, minutes)


def test_a_person_is_asked_and_the_answer_comes_back(prefect_server, monkeypatch):
    """The flow run pauses with the verdicts in its question, and goes on with what the person entered."""
    monkeypatch.setattr("flows.register.APPROVAL_POLL_SECONDS", 1)
    since = time.time()
    person = threading.Thread(target=_approve, args=(since,))
    person.start()
    answer = asks(2.0)
    person.join()
    assert answer is not None and answer.approve and answer.note == "looks right"


def test_nobody_answers(prefect_server, monkeypatch):
    """After the time is over there is no approval, and the run goes on."""
    monkeypatch.setattr("flows.register.APPROVAL_POLL_SECONDS", 1)
    assert asks(1 / 60) is None


def _approve(since):
    """Resume the paused run of `asks`, once it is there."""
    deadline = time.monotonic() + 100
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            body = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
            paused = client.request("POST", "/flow_runs/filter", json=body).json()
            if paused:
                resume_flow_run(paused[0]["id"], run_input={"approve": True, "note": "looks right"})
                return
            time.sleep(0.2)
