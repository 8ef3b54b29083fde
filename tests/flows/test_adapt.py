"""`multimodal pretrain CONF` for a pipeline: a tower is adapted, registered, and named by another pipeline."""

import shutil

import pytest
import yaml
from mlflow import MlflowClient

from flows.adapt import adapt_intentions, pretrain_pipeline
from flows.pipeline import dry_run, pipeline, read_config
from multimodal.encoders import build_encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.errors import CheckpointError, ConfigError, EncoderError, RegistryError
from multimodal.registry import fetch_encoder, fetch_package, weights_digest
from multimodal.sample import Modality
from multimodal.tracking import tracking_uri
from tests.conftest import ROOT
from tests.flows.conftest import SMOKE

NAME = "multimodal-adapted-image"
FEW = ["ingest.sources=[{name: scenes, path: data/sample/scenes.tsv, task: caption, limit: 60}]"]
FEW += ["ingest.splits={val: 0.2, test: 0.2}", "encode.image.pretrain.steps=3", "encode.image.pretrain.batch_size=8"]
FEW += ["encode.image.pretrain.contrastive_loss=siglip"]


@pytest.fixture(scope="module")
def adapted(prefect_server, tmp_path_factory):
    """conf/adapt.yaml on a few scenes; its workspace, overrides and result."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        workspace = tmp_path_factory.mktemp("adapt") / "workspace"
        overrides = [f"workspace={workspace}", *FEW]
        yield workspace, overrides, pretrain_pipeline("conf/adapt.yaml", overrides)


def test_the_tower_is_a_version_of_its_own_model(adapted):
    """With its weights' digest, scores and dataset as tags, its options as parameters and its losses as metrics."""
    workspace, _, result = adapted
    (info,) = result.versions
    assert (info.name, info.version, info.aliases) == (NAME, 1, ("challenger", "champion"))
    client = MlflowClient(tracking_uri(workspace))
    tags = client.get_model_version(NAME, "1").tags
    (folder,) = workspace.glob("encoders/*/image")
    loaded = build_encoder(EncoderOptions(kind="open_clip", weights=str(folder), downsample=2), Modality.IMAGE)
    start = build_encoder(EncoderOptions(kind="open_clip", weights="data/encoders/image", downsample=2), Modality.IMAGE)
    assert tags["weights.sha256"] == weights_digest(folder)
    assert tags["encoder.fingerprint"] == loaded.fingerprint != tags["encoder.start"] == start.fingerprint
    assert tags["score"] == "retrieval_at_1" and float(tags["val_score"]) == pytest.approx(
        float(tags["val/retrieval_at_1"]), abs=1e-5
    )
    assert len(tags["dataset.fingerprint"]) == 16
    run = client.get_run(info.run_id)
    assert run.data.params["tower.image.pretrain.lora.rank"] == "8"
    assert run.data.params["tower.image.pretrain.contrastive_loss"] == "siglip"
    losses = client.get_metric_history(info.run_id, "pretrain/image/contrastive")
    assert [metric.step for metric in losses] == [3] and losses[0].value > 0
    assert {"pretrain/image/val/retrieval_at_1", "pretrain/image/before/retrieval_at_1"} <= run.data.metrics.keys()


def test_what_the_registry_keeps_is_the_folder_and_no_pickle(adapted):
    """By version and by alias: the same files as the folder that it came from; JSON, YAML, text, code, safetensors."""
    workspace, _, _ = adapted
    (folder,) = workspace.glob("encoders/*/image")
    for uri in (f"models:/{NAME}/1", f"models:/{NAME}@champion"):
        fetched, info = fetch_encoder(workspace, uri)
        assert weights_digest(fetched) == weights_digest(folder) and info.version == 1 and fetched != folder
    model = fetched.parents[1]
    assert (model / "MLmodel").is_file()
    assert not {path.suffix for path in model.rglob("*")} & {".pkl", ".pt", ".pth", ".bin"}


def test_a_pipeline_names_it_as_an_encoder(adapted, tmp_path):
    """`weights: models:/NAME@champion`: its latents carry the fingerprint of the folder it came from, by version too,
    and the record of the run says which version the alias meant."""
    workspace, overrides, _ = adapted
    conf = yaml.safe_load((ROOT / "conf/adapt.yaml").read_text())
    conf["encode"]["image"] = {"kind": "open_clip", "weights": f"models:/{NAME}@champion", "downsample": 2}
    (tmp_path / "named.yaml").write_text(yaml.safe_dump(conf))
    mine = overrides[:3]
    result = pipeline(str(tmp_path / "named.yaml"), mine, "encode")
    (folder,) = workspace.glob("encoders/*/image")
    expected = build_encoder(EncoderOptions(kind="open_clip", weights=str(folder), downsample=2), Modality.IMAGE)
    assert [info.encoder_fingerprint for info in result.encoded.latents] == [expected.fingerprint]
    by_number = [*mine, f"encode.image.weights=models:/{NAME}/1"]
    assert not any(one.runs for one in dry_run(read_config(str(tmp_path / "named.yaml"), by_number), "encode"))
    assert read_config(str(tmp_path / "named.yaml"), mine).encode.image.origin == f"models:/{NAME}/1"


def test_a_tower_can_start_from_a_registered_one(adapted):
    """`pretrain.start: models:/...` is fetched too."""
    _, overrides, _ = adapted
    config = read_config("conf/adapt.yaml", [*overrides, f"encode.image.pretrain.start=models:/{NAME}@champion"])
    assert (config.workspace / "mlartifacts") in fetched_parents(config.encode.image.pretrain.start)
    assert config.encode.image.origin == f"from models:/{NAME}/1"


def fetched_parents(path):
    from pathlib import Path

    return Path(path).parents


def test_unchanged_it_is_neither_trained_nor_registered_again(adapted):
    """The same command finds nothing to do, and says so; a second run leaves one version."""
    _, overrides, result = adapted
    assert [one.runs for one in adapt_intentions("conf/adapt.yaml", overrides)] == [False, False, False]
    assert pretrain_pipeline("conf/adapt.yaml", overrides) == result


def test_it_is_served_as_a_pyfunc_model(adapted, monkeypatch):
    """mlflow.pyfunc loads it, without pickles: pooled vectors of pictures, an error for a bad row only."""
    import mlflow
    import numpy as np
    import pandas as pd

    workspace, _, _ = adapted
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.set_tracking_uri(tracking_uri(workspace))
    try:
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
        table = model.predict(pd.DataFrame({"path": ["data/sample/scenes/0000.webp", "absent.webp"]}))
    finally:
        mlflow.set_tracking_uri(None)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    import json

    (folder,) = workspace.glob("encoders/*/image")
    encoder = build_encoder(EncoderOptions(kind="open_clip", weights=str(folder), downsample=2), Modality.IMAGE)
    expected = encoder.encode([encoder.preprocess((ROOT / "data/sample/scenes/0000.webp").read_bytes())])
    np.testing.assert_allclose(json.loads(table.pooled[0]), expected.pooled[0].numpy(), atol=1e-5)
    assert table.tokens[0] == expected.hidden_states.shape[1] and table.error[0] == ""
    assert "absent.webp" in table.error[1] and table.pooled[1] == ""


def test_wrong_names_say_what_is_wrong(adapted):
    """A version that is not there, an encoder where a model is wanted, another modality, nothing to train, a URI that
    nobody resolved."""
    workspace, overrides, _ = adapted
    with pytest.raises(RegistryError, match="no version '7'"):
        read_config("conf/adapt.yaml", [*overrides, f"encode.image.weights=models:/{NAME}/7"])
    with pytest.raises(RegistryError, match="is an encoder of image, no model that writes"):
        fetch_package(workspace, f"models:/{NAME}/1")
    with pytest.raises(ConfigError, match=r"encode\.text: .* is an encoder of image"):
        read_config(SMOKE, [f"workspace={workspace}", f"encode.text.weights=models:/{NAME}/1"])
    with pytest.raises(ConfigError, match=r"pretrain\.start"):
        pretrain_pipeline.fn(SMOKE, [f"workspace={workspace}"])
    with pytest.raises(EncoderError, match="must be fetched first"):
        build_encoder(EncoderOptions(kind="open_clip", weights=f"models:/{NAME}/1"), Modality.IMAGE)


def test_changed_files_are_noticed(adapted):
    """A registered folder whose weights are others by now is refused, with the cure."""
    workspace, _, _ = adapted
    fetched, _ = fetch_encoder(workspace, f"models:/{NAME}/1")
    weights = next(fetched.glob("*.safetensors"))
    kept = weights.with_suffix(".kept")
    shutil.copyfile(weights, kept)
    try:
        weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
        with pytest.raises(CheckpointError, match="does not hold what was registered"):
            fetch_encoder(workspace, f"models:/{NAME}/1")
    finally:
        kept.replace(weights)
