from __future__ import annotations

import shutil
import threading
import time

import numpy as np
import pytest
import torch

from multimodal.errors import DatasetError
from multimodal.fingerprint import INDEX
from multimodal.latents import LatentStore, LatentWriter

HIDDEN, POOLED = 8, 4


def latents(seed, tokens):
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((tokens, HIDDEN), dtype=np.float32)
    return states, rng.standard_normal(POOLED, dtype=np.float32)


def fill(path, numbers, **options):
    with LatentWriter(path, "fp", HIDDEN, **options) as writer:
        for number in numbers:
            writer.add(f"id{number}", *latents(number, 1 + number % 5), reading=f"text {number}" if number % 2 else "")
    return path


def test_latents_come_back_as_they_went_in(tmp_path):
    """Hidden states to float16, pooled vectors exactly, however many shards they are in."""
    store = LatentStore(fill(tmp_path, range(20), contents_per_shard=6))
    assert len(list(tmp_path.glob("shard-*.arrow"))) == 4
    assert len(store) == 20
    for number in range(20):
        states, pooled = latents(number, 1 + number % 5)
        np.testing.assert_array_equal(store.get(f"id{number}"), states.astype(np.float16))
        np.testing.assert_array_equal(store.pooled(f"id{number}"), pooled)
        assert store.reading(f"id{number}") == (f"text {number}" if number % 2 else "")


def test_a_batch_is_padded_with_zeros_under_a_mask(tmp_path):
    """Row by row the stored states, then zeros where the mask is False."""
    store = LatentStore(fill(tmp_path, range(5)))
    hidden_states, mask = store.batch(["id4", "id0", "id2"])
    assert (hidden_states.shape, hidden_states.dtype) == ((3, 5, HIDDEN), torch.float32)
    assert mask.dtype == torch.bool
    assert mask.sum(1).tolist() == [5, 1, 3]
    assert (hidden_states[~mask] == 0).all()
    np.testing.assert_array_equal(hidden_states[2, :3].numpy(), store.get("id2").astype(np.float32))


def test_an_empty_batch_is_empty(tmp_path):
    """No ids, no rows, no error."""
    hidden_states, mask = LatentStore(fill(tmp_path, range(3))).batch([])
    assert (hidden_states.shape, mask.shape) == ((0, 0, HIDDEN), (0, 0))


def test_states_are_read_by_memory_map(tmp_path):
    """`get` copies nothing: it is a read-only view."""
    states = LatentStore(fill(tmp_path, range(3))).get("id2")
    assert states.base is not None
    assert not states.flags.writeable


def test_a_store_grows_by_shards(tmp_path):
    """A second writer adds shards and leaves the first ones untouched."""
    fill(tmp_path, range(5))
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("shard-*")}
    store = LatentStore(fill(tmp_path, range(5, 8)))
    assert len(store) == 8
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("shard-*")}.items()


def test_what_no_index_names_is_not_there(tmp_path):
    """A shard of a killed writer is ignored; a folder without an index is no store."""
    fill(tmp_path / "a", range(3))
    fill(tmp_path / "b", range(9))
    shutil.copy(next((tmp_path / "b").glob("shard-*")), tmp_path / "a" / "shard-00001-beef.arrow")
    assert len(LatentStore(tmp_path / "a")) == 3
    (tmp_path / "b" / INDEX).unlink()
    with pytest.raises(DatasetError, match="multimodal encode"):
        LatentStore(tmp_path / "b")


def test_an_error_keeps_the_finished_shards_only(tmp_path):
    """What was added since the last finished shard is dropped; the shards before it stand."""
    with pytest.raises(KeyboardInterrupt), LatentWriter(tmp_path, "fp", HIDDEN, contents_per_shard=2) as writer:
        for number in range(5):
            writer.add(f"id{number}", *latents(number, 2))
        raise KeyboardInterrupt
    assert sorted(LatentStore(tmp_path)) == ["id0", "id1", "id2", "id3"]


def test_two_writers_at_once_lose_nothing(tmp_path):
    """Two encodes of different datasets into one store both finish all their shards."""
    numbers = [range(0, 40), range(40, 80)]
    threads = [threading.Thread(target=fill, args=(tmp_path, n), kwargs={"contents_per_shard": 3}) for n in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = LatentStore(tmp_path)
    assert len(store) == 80
    np.testing.assert_array_equal(store.pooled("id57"), latents(57, 3)[1])


def test_failures_are_kept_with_their_reason(tmp_path):
    """A content that cannot be encoded is known as such, and asking for it says why."""
    with LatentWriter(tmp_path, "fp", HIDDEN) as writer:
        writer.fail("bad", "truncated_image: cut")
    store = LatentStore(tmp_path)
    assert store.failed == {"bad": "truncated_image: cut"}
    assert "bad" not in store
    with pytest.raises(DatasetError, match="truncated_image: cut"):
        store.get("bad")
    with pytest.raises(DatasetError, match="run the encode stage"):
        store.batch(["never seen"])


def test_a_store_belongs_to_one_encoder(tmp_path):
    """Another encoder, or another width, cannot write into it."""
    fill(tmp_path, range(3))
    with pytest.raises(DatasetError, match="use another folder"):
        LatentWriter(tmp_path, "other", HIDDEN)
    with pytest.raises(DatasetError, match="expected"), LatentWriter(tmp_path, "fp", HIDDEN) as writer:
        writer.add("id", np.zeros((2, HIDDEN + 1)), np.zeros(POOLED))


def test_a_damaged_shard_is_named(tmp_path):
    """A cut or missing shard raises with its path and the cure, instead of giving noise."""
    (shard,) = fill(tmp_path, range(3)).glob("shard-*")
    for damage in (lambda: shard.write_bytes(shard.read_bytes()[:100]), shard.unlink):
        damage()
        with pytest.raises(DatasetError, match=r"shard-00000.*run the encode stage again"):
            LatentStore(tmp_path)


def test_a_training_batch_is_read_in_milliseconds(tmp_path):
    """96 contents of 36 to 100 tokens of 192: far below the time of a training step (median of 20 reads)."""
    rng = np.random.default_rng(0)
    with LatentWriter(tmp_path, "fp", 192) as writer:
        for number in range(600):
            states = rng.standard_normal((rng.integers(36, 100), 192), dtype=np.float32)
            writer.add(f"id{number}", states, np.zeros(POOLED))
    store, times = LatentStore(tmp_path), []
    for _ in range(20):
        ids = [f"id{number}" for number in rng.choice(600, 96, replace=False)]
        started = time.perf_counter()
        store.batch(ids)
        times.append(time.perf_counter() - started)
    assert sorted(times)[10] < 0.025
