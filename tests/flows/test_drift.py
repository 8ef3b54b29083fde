import json

import pytest
from prefect.artifacts import Artifact

from flows.drift import DRIFT, find_predecessor
from flows.ingest import ingest_flow, plan
from multimodal.config import PipelineConfig
from multimodal.dataset import DatasetInfo
from multimodal.errors import DriftError


@pytest.fixture
def pipeline_of(tmp_path, prefect_server, monkeypatch):
    """`pipeline_of(texts, **drift)`: a configuration of one source of texts, always in the same workspace."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def configure(texts, **drift):
        (tmp_path / "texts.txt").write_text("\n".join(texts))
        source = {"name": "s", "task": "infill", "path": tmp_path / "texts.txt"}
        options = {"sources": [source], "drift": drift}
        values = {"name": "tiny", "workspace": tmp_path / "workspace", "ingest": options, "encode": {}}
        return PipelineConfig.model_validate(values)

    return configure


def report_of(config):
    planned = plan(config)
    return json.loads((planned.folder / planned.fingerprint / DRIFT).read_text())


def test_each_dataset_is_compared_with_the_one_before(pipeline_of, capsys):
    """The first has no predecessor and says so; the next is shown beside it; a gate stops a run, and stops it again
    until it is opened, which needs no new ingest."""
    texts = [f"a red dog and a house {n}" for n in range(40)]
    first = ingest_flow(pipeline_of(texts))
    report = report_of(pipeline_of(texts))
    assert (report["predecessor"], report["drifts"]) == ("", [])
    assert "the first dataset of tiny, nothing to compare with" in " ".join(capsys.readouterr().out.split())

    longer = [f"{text} and many more words than it had before" for text in texts]
    for _ in range(2):
        with pytest.raises(DriftError, match=r"infill\.words: PSI .*, at most 0\.25 \(ingest\.drift\.psi\)"):
            ingest_flow(pipeline_of(longer, psi=0.25))
    config = pipeline_of(longer)
    assert plan(config).result(DatasetInfo) is None
    assert find_predecessor(plan(config)) == first
    second = ingest_flow(config)
    assert report_of(config)["predecessor"] == first.fingerprint != second.fingerprint
    drifts = {drift["feature"]: drift for drift in report_of(config)["drifts"]}
    assert drifts["infill.words"]["ks"] == 1.0
    assert drifts["rows"]["change"] == 0
    table = json.loads(Artifact.get("ingest-drift").data)
    assert {row["feature"]: row["ks"] for row in table}["infill.words"] == "1"
    assert ingest_flow(pipeline_of(longer, psi=0.0)) == second  # unchanged: it was judged when it was made

    third = pipeline_of([*longer, "one more"])
    ingest_flow(third)
    assert report_of(third)["predecessor"] == second.fingerprint
