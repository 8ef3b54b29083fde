"""A real Ray cluster of two nodes on loopback encodes and predicts; one of the nodes is killed at work."""

from pathlib import Path

import pytest
import torch

from multimodal.bulk_prediction import predict_with
from multimodal.dataset import Dataset
from multimodal.encoders import build_encoder
from multimodal.encoders.distributed import by_workers, distributed
from multimodal.encoders.encode import Spent, encode_dataset
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.shard import ShardOptions
from multimodal.errors import ConfigError, EncoderError, RunnerError
from multimodal.fingerprint import file_digest, read_index
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
from multimodal.latents import LatentStore
from multimodal.package import load_predictor
from multimodal.predictor import Row
from multimodal.runners import RunnerOptions, run
from multimodal.sample import Modality
from multimodal.stored_contents import stored_contents
from tests.encoders.length_encoder import write_dataset
from tests.encoders.stand_in import ByteEncoder, ByteWork
from tests.runners.cluster import add_node, started
from tests.runners.works import Squares, make_refusing
from tests.small_model import picture

pytest.importorskip("ray")
pytest_plugins = ("tests.mlflow_fixtures",)
pytestmark = pytest.mark.slow

ON_RAY = RunnerOptions(kind="ray", workers=2)
TEXTS = [f"text {'x' * (number % 7)} {number}" + "!" * (number == 33) for number in range(96)]


@pytest.fixture(scope="module")
def cluster():
    """The head with two processors, a second node with one."""
    with started(2, 1) as made:
        yield made


@pytest.fixture(autouse=True)
def one_thread():
    """As the workers have: sums of floats depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def digests(store: Path) -> list[str]:
    return sorted(shard["digest"] for shard in read_index(store)["shards"])


def whole(store: Path) -> bool:
    """Whether the store's files are those of its index, and whole."""
    listed = {shard["name"]: shard["digest"] for shard in read_index(store)["shards"]}
    return {path.name: file_digest(path) for path in store.glob("*.arrow*")} == listed


def test_pictures_are_encoded_as_by_threads(cluster, project_folder, tmp_path):
    """The real tower, its weights loaded by every actor: the same shards to the bit."""
    source = {"name": "scenes", "path": "data/sample/scenes.tsv", "task": "caption", "limit": 40}
    info = ingest(IngestOptions.model_validate({"sources": [source]}), seed=0, workspace=tmp_path)
    options = EncoderOptions(kind="open_clip", weights="data/encoders/image", downsample=2, batch_size=4)
    encoder, dataset, seen = build_encoder(options, Modality.IMAGE), Dataset(info.path), []
    how = {"batch_size": 4, "contents_per_shard": 6}
    encode_dataset(dataset, Modality.IMAGE, encoder, tmp_path / "threads", **how)
    runner = distributed(ON_RAY, options)(encoder, ShardOptions(4))
    made = encode_dataset(
        dataset, Modality.IMAGE, encoder, tmp_path / "ray", lambda *at: seen.append(at), runner=runner, **how
    )
    assert made.count == made.encoded == len(dataset.content_ids(Modality.IMAGE)) and seen[-1][0] == made.count
    assert digests(tmp_path / "ray") == digests(tmp_path / "threads")
    assert len(digests(tmp_path / "ray")) == -(-made.count // 6) and whole(tmp_path / "ray")
    encoder.fingerprint = "another"
    with pytest.raises(EncoderError, match="every machine must see the same weights"):
        list(
            distributed(ON_RAY, options)(encoder, ShardOptions(4))(
                stored_contents(dataset, dataset.content_ids(Modality.IMAGE), Modality.IMAGE, 6), seen.append, Spent()
            )
        )


def test_predictions_are_those_of_threads(cluster, small_package, monkeypatch):
    """Text for text and confidence for confidence, bad rows and all, with more rows than fit at once."""
    rows = [Row("denoise", text=f"a smal red ciircle {number}") for number in range(19)]
    rows += [Row("caption", data=picture("blue")), Row("caption", data=b"no picture"), Row("sing", text="la")]
    for module in ("bulk_prediction", "predictor"):
        monkeypatch.setattr(f"multimodal.{module}.ROWS_AT_ONCE", 8)
    expected = load_predictor(small_package.path).predict(rows)
    assert predict_with(ON_RAY, small_package.path, rows, small_package.sampler) == expected
    assert sum(bool(one.text) for one in expected) >= 10 and sum(bool(one.error) for one in expected) == 2


def test_errors_of_workers_and_of_the_cluster(cluster, tmp_path):
    """Typed, with the cure; a worker that dies at one item again and again ends the work."""
    with pytest.raises(ConfigError, match=r"^no weights here$"):
        list(run(ON_RAY, make_refusing, [1]))
    with pytest.raises(ConfigError, match=r"reserves 64 CPUs and 0 GPUs; the cluster's nodes have 2 CPUs"):
        list(run(ON_RAY.model_copy(update={"cpus": 64}), make_refusing, [1]))
    with pytest.raises(ConfigError, match=r"and 0\.5 GPUs"):
        list(run(ON_RAY.model_copy(update={"gpus": 0.5}), make_refusing, [1]))
    with pytest.raises(RunnerError, match="gave up after 4 attempts"):
        list(run(ON_RAY.model_copy(update={"workers": 1}), Squares(tmp_path, deaths=99), range(4)))


def test_a_killed_node_changes_nothing(cluster, tmp_path):
    """Its actor's work is done again, once another node has come for it: the same shards to the bit, none half, none
    twice, and what cannot be read is noted once."""
    seen = tmp_path / "seen"
    seen.mkdir()
    dataset, how = write_dataset(tmp_path, TEXTS), {"batch_size": 8, "contents_per_shard": 4}
    encode_dataset(dataset, Modality.TEXT, ByteEncoder(), tmp_path / "threads", **how)
    (victim,) = cluster.worker_nodes
    three = by_workers(ON_RAY.model_copy(update={"workers": 3}), ByteWork(seen, seconds=0.5))

    def runner(shards, done, spent):
        for shard in three(shards, done, spent):
            if victim in cluster.worker_nodes and victim.node_id in {node for _, node, _ in begun(seen)}:
                cluster.remove_node(victim, allow_graceful=False)
                add_node(cluster, 1)
            yield shard

    info = encode_dataset(dataset, Modality.TEXT, ByteEncoder(), tmp_path / "ray", runner=runner, **how)
    assert victim not in cluster.worker_nodes
    assert (info.count, len(info.failed)) == (95, 1)
    shards = [shard for shard, _, _ in begun(seen)]
    assert len(shards) > len(set(shards)) == 24, "what the node was at is begun again"
    assert digests(tmp_path / "ray") == digests(tmp_path / "threads") and whole(tmp_path / "ray")
    ours, theirs = LatentStore(tmp_path / "ray"), LatentStore(tmp_path / "threads")
    assert all((ours.get(content_id) == theirs.get(content_id)).all() for content_id in theirs)


def begun(seen: Path) -> list[tuple[str, str, str]]:
    """(shard, node, process) of every shard that was begun."""
    return [tuple(path.name.split("-")) for path in seen.iterdir()]
