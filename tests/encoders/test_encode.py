from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from multimodal.encoders.encode import encode_dataset, missing_contents
from multimodal.errors import DatasetError
from multimodal.latents import LatentStore
from multimodal.sample import Modality, content_digest
from multimodal.storage import Storage
from tests.encoders.length_encoder import TEXTS, LengthEncoder, write_dataset

ROOT = Path(__file__).parents[2]


def test_all_contents_are_encoded_once(tmp_path):
    """Each content has its own states and pooled vector, and padding never reaches the store."""
    dataset, encoder = write_dataset(tmp_path, [*TEXTS, TEXTS[0]]), LengthEncoder()
    calls = []
    info = encode_dataset(
        dataset,
        Modality.TEXT,
        encoder,
        tmp_path / "l",
        lambda *at: calls.append(at),
        batch_size=8,
        contents_per_shard=16,
    )
    assert (info.count, info.encoded, info.failed, info.hidden_size) == (50, 50, (), 4)
    assert calls[-1] == (50, 50)
    store = LatentStore(tmp_path / "l")
    for text in TEXTS:
        expected = np.repeat(np.frombuffer(text.encode(), np.uint8)[:, None], 4, axis=1)
        np.testing.assert_array_equal(store.get(content_digest(text.encode())), expected)
        assert store.pooled(content_digest(text.encode()))[0] == sum(text.encode())


def test_batches_hold_contents_of_like_length(tmp_path):
    """Within a window, contents are batched by length: little is padded."""
    encoder = LengthEncoder()
    encode_dataset(write_dataset(tmp_path, TEXTS), Modality.TEXT, encoder, tmp_path / "l", batch_size=10)
    assert [length for batch in encoder.seen for length in batch] == sorted(len(text) for text in TEXTS)


def test_only_new_contents_are_encoded(tmp_path):
    """A grown dataset costs its growth; an unchanged one costs nothing."""
    encode_dataset(write_dataset(tmp_path / "a", TEXTS[:40]), Modality.TEXT, LengthEncoder(), tmp_path / "l")
    grown = write_dataset(tmp_path / "b", TEXTS)
    assert missing_contents(grown, Modality.TEXT, tmp_path / "l") == sorted(
        content_digest(t.encode()) for t in TEXTS[40:]
    )
    encoder = LengthEncoder()
    assert encode_dataset(grown, Modality.TEXT, encoder, tmp_path / "l").encoded == 10
    assert sum(len(batch) for batch in encoder.seen) == 10
    again = encode_dataset(grown, Modality.TEXT, LengthEncoder(), tmp_path / "l")
    assert (again.count, again.encoded) == (50, 0)


def test_no_content_is_ever_encoded_twice(tmp_path):
    """Datasets that overlap, in another folder and order, share what one of them has encoded or failed on."""
    encoder, half = LengthEncoder(), [*TEXTS[:30], "shout!"]
    for name, texts in (("a", half), ("b", [*TEXTS[::-1], "shout!"]), ("c", [*half, TEXTS[40]]), ("a again", half)):
        info = encode_dataset(write_dataset(tmp_path / name, texts), Modality.TEXT, encoder, tmp_path / "l")
        assert (info.count, len(info.failed)) == (len(set(texts)) - 1, 1)
    assert sorted(encoder.preprocessed) == sorted(text.encode() for text in [*TEXTS, "shout!"])
    assert sum(len(batch) for batch in encoder.seen) == len(TEXTS)


@pytest.mark.parametrize("storage", Storage)
def test_the_store_keeps_its_encoders_storage(tmp_path, storage):
    """Within the bound that the index holds; only what the storage cannot hold fails."""
    encoder, dataset = LengthEncoder(), write_dataset(tmp_path, [*TEXTS, "overflow~"])
    encoder.storage = storage
    info = encode_dataset(dataset, Modality.TEXT, encoder, tmp_path / "l", batch_size=8, contents_per_shard=16)
    store = LatentStore(tmp_path / "l")
    assert store.storage is storage and info.count == (50 if storage is Storage.FLOAT16 else 51)
    for text in TEXTS:
        expected = np.repeat(np.frombuffer(text.encode(), np.uint8)[:, None], 4, axis=1)
        np.testing.assert_allclose(store.get(content_digest(text.encode())), expected, rtol=2**-8)
        apart = np.linalg.norm(store.get(content_digest(text.encode())) - expected, axis=1).max()
        assert apart <= store.error_bound.absolute_l2


def test_a_smaller_dataset_counts_its_own_contents(tmp_path):
    """A store may hold more than the dataset asks for; the info is about the dataset."""
    encode_dataset(write_dataset(tmp_path / "a", TEXTS), Modality.TEXT, LengthEncoder(), tmp_path / "l")
    info = encode_dataset(write_dataset(tmp_path / "b", TEXTS[:5]), Modality.TEXT, LengthEncoder(), tmp_path / "l")
    assert (info.count, info.encoded) == (5, 0)


def test_what_cannot_be_encoded_is_reported_and_not_tried_again(tmp_path):
    """Undecodable contents and states beyond float16 fail alone, with their reason in the store."""
    dataset = write_dataset(tmp_path, [*TEXTS[:5], "shout!", "overflow~"])
    info = encode_dataset(dataset, Modality.TEXT, LengthEncoder(), tmp_path / "l")
    assert info.count == 5
    assert set(info.failed) == {content_digest(b"shout!"), content_digest(b"overflow~")}
    assert LatentStore(tmp_path / "l").failed[content_digest(b"shout!")] == "unreadable: it shouts"
    assert missing_contents(dataset, Modality.TEXT, tmp_path / "l") == []


def test_a_modality_without_contents_gives_an_empty_store(tmp_path):
    """A dataset without sounds can be asked for them."""
    info = encode_dataset(write_dataset(tmp_path, TEXTS[:3]), Modality.AUDIO, LengthEncoder(), tmp_path / "l")
    assert (info.count, len(LatentStore(tmp_path / "l"))) == (0, 0)


def test_another_encoder_cannot_use_the_store(tmp_path):
    """Latents of two encoders never mix."""
    dataset, other = write_dataset(tmp_path, TEXTS[:3]), LengthEncoder()
    encode_dataset(dataset, Modality.TEXT, LengthEncoder(), tmp_path / "l")
    other.fingerprint = "length-2"
    with pytest.raises(DatasetError, match="use another folder"):
        encode_dataset(dataset, Modality.TEXT, other, tmp_path / "l")


def test_an_interrupted_encode_goes_on_from_its_last_shard(tmp_path):
    """What was finished before the interruption is not encoded again."""
    dataset, place = write_dataset(tmp_path, TEXTS), tmp_path / "l"

    def stop(done, total):
        if done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_dataset(dataset, Modality.TEXT, LengthEncoder(), place, stop, batch_size=5, contents_per_shard=10)
    assert len(LatentStore(place)) == 20
    assert encode_dataset(dataset, Modality.TEXT, LengthEncoder(), place).encoded == 30


KILLED = """
import sys, time
from pathlib import Path
from multimodal.dataset import Dataset
from multimodal.encoders.encode import encode_dataset
from multimodal.sample import Modality
from tests.encoders.length_encoder import LengthEncoder
def wait(done, total):
    if done == 25:
        print(done, flush=True)
        time.sleep(60)
folder = Path(sys.argv[1])
encode_dataset(Dataset(folder / "dataset/fp"), Modality.TEXT, LengthEncoder(), folder / "l", wait, batch_size=5, contents_per_shard=10)
"""  # noqa: E501


def test_a_killed_encode_goes_on_from_its_last_shard(tmp_path):
    """kill -9 loses at most the shard that is being encoded and one that is being written."""
    dataset = write_dataset(tmp_path, TEXTS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"25\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    finished = len(LatentStore(tmp_path / "l"))
    assert finished in (10, 20)
    info = encode_dataset(dataset, Modality.TEXT, LengthEncoder(), tmp_path / "l")
    assert (info.count, info.encoded) == (50, 50 - finished)
