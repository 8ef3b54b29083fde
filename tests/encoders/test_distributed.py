"""Shards that worker processes encode are those of one process; tests/runners/test_cluster.py is about Ray."""

import shutil

import pytest
import torch

from multimodal.encoders.distributed import ShardWork, by_workers, distributed, rescued
from multimodal.encoders.encode import encode_dataset
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.shard import ShardEncoder, ShardOptions
from multimodal.errors import DatasetError, EncoderError
from multimodal.fingerprint import read_index
from multimodal.runners import RunnerOptions
from multimodal.sample import Content, Modality
from multimodal.stored_contents import stored_contents
from tests.conftest import ROOT
from tests.encoders.length_encoder import write_dataset
from tests.encoders.stand_in import ByteEncoder, ByteWork

pytest_plugins = ("tests.workspace_fixtures",)

TEXTS = [f"text {'x' * (number % 7)} {number}" + "!" * (number == 33) for number in range(60)]
HOW = {"batch_size": 8, "contents_per_shard": 10}


def digests(store):
    return sorted(shard["digest"] for shard in read_index(store)["shards"])


def test_a_worker_that_dies_changes_nothing(tmp_path):
    """The shard that killed its process is encoded by the next one: the same shards to the bit, each once."""
    (seen := tmp_path / "seen").mkdir()
    torch.set_num_threads(1)
    dataset, calls = write_dataset(tmp_path, TEXTS), []
    encode_dataset(dataset, Modality.TEXT, ByteEncoder(), tmp_path / "threads", **HOW)
    runner = by_workers(RunnerOptions(kind="processes", workers=1), ByteWork(seen, deadly=b" 40"))
    info = encode_dataset(
        dataset,
        Modality.TEXT,
        ByteEncoder(),
        tmp_path / "processes",
        lambda *at: calls.append(at),
        runner=runner,
        **HOW,
    )
    assert (seen / "dead").exists() and calls[-1] == (60, 60)
    assert (info.count, info.encoded, len(info.failed)) == (59, 60, 1)
    assert digests(tmp_path / "processes") == digests(tmp_path / "threads") and len(digests(tmp_path / "threads")) == 6


def test_threads_are_this_process():
    """They need no runner."""
    assert distributed(RunnerOptions(), EncoderOptions(kind="bytes")) is None


def test_a_poison_row_is_named_by_the_worker():
    """Contents that the encoder fails on are found there; the others are encoded."""
    with ShardEncoder(ByteEncoder(), ShardOptions(8)) as encode:
        work = rescued(encode)
        texts = [Content(text, Modality.TEXT, text.encode()) for text in ("one", "poison", "three")]
        assert work(texts[::2]).count == 2
        made = work(texts)
        assert made.count == 2 and list(made.failed) == ["poison"] and "of poison" in made.failed["poison"]


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("size", [1, 2, 64])
def test_stored_contents_are_the_datasets(made, modality, size):
    """Bytes and order are those of `Dataset.contents`, so many at a time, and none that was not asked for."""
    ids = made.dataset.content_ids(modality)[1:]
    expected = list(made.dataset.contents(ids, modality))
    shards = list(stored_contents(made.dataset, ids, modality, size))
    assert [one for shard in shards for one in shard] == expected
    assert [len(shard) for shard in shards] == [
        len(expected[start : start + size]) for start in range(0, len(ids), size)
    ]
    assert all(shard[0] == next(iter(shard)) for shard in shards)


def test_a_machine_without_the_dataset_says_so(made):
    """With what it lacks."""
    (shard,) = stored_contents(made.dataset, made.dataset.content_ids(Modality.IMAGE), Modality.IMAGE, 64)
    shutil.rmtree(made.dataset.path)
    with pytest.raises(DatasetError, match="must lie where every worker sees it"):
        list(shard)


def test_a_worker_with_another_encoder_is_refused():
    """A machine with other weights or libraries must not add its latents to those of the run."""
    options = EncoderOptions(kind="bytes", weights=str(ROOT / "data/encoders/text"))
    with pytest.raises(EncoderError, match="the run's is another"):
        ShardWork(options, Modality.TEXT, "another", ShardOptions(8), torch.get_num_threads())()
