"""The stage that trains towers which name no weights."""

import pytest
import safetensors.torch
import torch

from flows.pipeline import dry_run, pipeline, read_config
from multimodal.encoders import build_encoder
from multimodal.sample import Modality
from tests.conftest import ROOT
from tests.flows.conftest import SMOKE
from tests.flows.test_pipeline import pipeline_runs, stage_runs

STEPS = 2
TOWERS = [
    f"encode.{modality}={{kind: {kind}, model: conf/models/sample-{model}.json,"
    f" pretrain: {{steps: {STEPS}, batch_size: 4, warmup_steps: 1}}}}"
    for modality, kind, model in (
        ("image", "open_clip", "vision"),
        ("audio", "whisper", "audio"),
        ("text", "bytes", "text"),
    )
]


@pytest.fixture(scope="module")
def pretrained(prefect_server, tmp_path_factory):
    """The smoke configuration without weights, run up to encode; its workspace and overrides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        workspace = tmp_path_factory.mktemp("pretrain") / "workspace"
        overrides = [f"workspace={workspace}", *TOWERS]
        yield workspace, overrides, pipeline(SMOKE, overrides, "encode")


def test_every_tower_is_trained_saved_and_used(pretrained):
    """Three folders of finite safetensors; the latents carry the fingerprints of the encoders loaded from them."""
    workspace, overrides, result = pretrained
    config = read_config(SMOKE, overrides)
    folders = {path.parent.name: path for path in (workspace / "encoders").glob("*/*/*.safetensors")}
    assert set(folders) == {"image", "audio", "text"}
    for info in result.encoded.latents:
        weights = safetensors.torch.load_file(folders[info.modality])
        assert all(torch.isfinite(tensor).all() for tensor in weights.values() if tensor.is_floating_point())
        options = config.encode.of(Modality(info.modality))
        loaded = build_encoder(
            options.model_copy(update={"weights": str(folders[info.modality].parent)}), info.modality
        )
        assert loaded.fingerprint == info.encoder_fingerprint


def test_an_unchanged_tower_is_not_trained_again(pretrained):
    """With nothing changed nothing would run; with one more step of one tower, pretrain and all after it would."""
    _, overrides, _ = pretrained
    assert not any(intention.runs for intention in dry_run(read_config(SMOKE, overrides), "encode"))
    changed = [*overrides, f"encode.text.pretrain.steps={STEPS + 1}"]
    runs = {intention.stage: intention.runs for intention in dry_run(read_config(SMOKE, changed), "encode")}
    assert runs == {"ingest": False, "pretrain": True, "encode": True, "pairs": True}


def test_another_storage_encodes_again_with_the_same_towers(pretrained):
    """How latents are stored changes no tower, and an earlier run's towers do not bring its storage along."""
    _, overrides, _ = pretrained
    changed = [*overrides, "encode.text.storage=int8"]
    runs = {intention.stage: intention.runs for intention in dry_run(read_config(SMOKE, changed), "encode")}
    assert runs == {"ingest": False, "pretrain": False, "encode": True, "pairs": True}


def test_losses_of_every_tower_are_in_the_tracking(pretrained):
    """The stage's MLflow run holds metrics of all three towers."""
    workspace, _, _ = pretrained
    (parent,) = pipeline_runs(workspace)
    metrics = stage_runs(workspace, parent)["pretrain"].data.metrics
    assert {name.split("/")[1] for name in metrics if name.startswith("pretrain/")} == {"image", "audio", "text"}
