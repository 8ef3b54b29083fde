"""Storage types of the latent store: what is read back, how far it is from what was written, and in whose memory."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from multimodal.errors import DatasetError
from multimodal.fingerprint import read_index, write_index
from multimodal.latents import LatentStore, LatentWriter
from multimodal.latents.quantize import quantize
from multimodal.storage import Storage, stored_fingerprint
from multimodal.verification import verify

HIDDEN, POOLED = 16, 4
UNIT_ROUNDOFF = {Storage.FLOAT16: 2**-11, Storage.BFLOAT16: 2**-8}
EVERY_STORAGE = pytest.mark.parametrize("storage", Storage)


def states(number):
    """Tokens of very different sizes; none for every seventh content."""
    rng = np.random.default_rng(number)
    sizes = np.float32(10.0) ** rng.integers(-2, 3, (number % 7, 1))
    return (rng.standard_normal((number % 7, HIDDEN)) * sizes).astype(np.float32)


def fill(path, numbers, storage, **options):
    with LatentWriter(path, "fp", HIDDEN, storage=storage, **options) as writer:
        for number in numbers:
            writer.add(f"id{number}", states(number), np.full(POOLED, number), f"text {number}")
    return path


def errors(store, numbers):
    """Absolute and relative L2 error of every token, [tokens, 2], from what a reader gets."""
    pairs = [(states(number).astype(np.float64), store.get(f"id{number}").astype(np.float64)) for number in numbers]
    written, read = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    absolute = np.linalg.norm(read - written, axis=1)
    return np.stack([absolute, absolute / np.linalg.norm(written, axis=1)], axis=1)


@EVERY_STORAGE
def test_states_come_back_within_the_bound_of_the_storage(tmp_path, storage):
    """Half a unit in the last place of a float, half a level of int8's scale; pooled vectors and readings exactly."""
    store = LatentStore(fill(tmp_path, range(20), storage, contents_per_shard=6))
    assert store.storage is storage
    for number in range(20):
        written, read = states(number), store.get(f"id{number}")
        assert read.shape == written.shape and not read.flags.writeable
        if storage is Storage.INT8:
            allowed = np.abs(written).max(axis=1, keepdims=True, initial=0) / 127 / 2 * 1.0001
        else:
            allowed = np.maximum(np.abs(written) * UNIT_ROUNDOFF[storage], 2.0**-25)
        assert (np.abs(read.astype(np.float64) - written) <= allowed).all()
        assert store.pooled(f"id{number}").tolist() == [number] * POOLED
        assert store.reading(f"id{number}") == f"text {number}"


@EVERY_STORAGE
def test_the_index_holds_the_largest_error_over_every_token(tmp_path, storage):
    """Per shard and over all shards, equal to what a reader finds against the states that were written."""
    store = LatentStore(fill(tmp_path, range(20), storage, contents_per_shard=6))
    found = errors(store, range(20))
    bound = store.error_bound
    np.testing.assert_allclose([bound.absolute_l2, bound.relative_l2], found.max(axis=0), rtol=1e-6)
    for shard in read_index(tmp_path)["shards"]:
        numbers = [int(content_id.removeprefix("id")) for content_id in store.shards[shard["name"]]]
        of_shard = errors(store, numbers)
        assert shard["tokens"] == len(of_shard) and shard["count"] == len(numbers)
        written = [shard["error_bound"][name] for name in ("absolute_l2", "relative_l2")]
        np.testing.assert_allclose(written, of_shard.max(axis=0), rtol=1e-6)


def test_the_storages_order_as_their_bits_do():
    """float16 is closest, then bfloat16 and int8, which takes half the bytes."""
    tokens = torch.from_numpy(np.random.default_rng(0).standard_normal((200, 192), dtype=np.float32))
    relative = {storage: quantize(tokens, storage).error_bound.relative_l2 for storage in Storage}
    assert relative[Storage.FLOAT16] < 5e-4 < relative[Storage.BFLOAT16] < 4e-3 < relative[Storage.INT8] < 2e-2


@EVERY_STORAGE
def test_a_batch_holds_the_rows(tmp_path, storage):
    """float32, row by row what `get` gives, zeros where the mask is False; an empty batch is empty."""
    store = LatentStore(fill(tmp_path, range(20), storage, contents_per_shard=6))
    ids = ["id19", "id7", "id3", "id12"]
    hidden_states, mask = store.batch(ids)
    assert hidden_states.dtype == torch.float32 and hidden_states.shape == (4, 5, HIDDEN)
    assert mask.sum(1).tolist() == [5, 0, 3, 5]
    assert (hidden_states[~mask] == 0).all()
    for row, content_id in enumerate(ids):
        np.testing.assert_array_equal(hidden_states[row][mask[row]].numpy(), store.get(content_id).astype(np.float32))
    assert [tuple(part.shape) for part in store.batch([])] == [(0, 0, HIDDEN), (0, 0)]


@pytest.mark.parametrize("storage", [Storage.FLOAT16, Storage.BFLOAT16])
def test_a_tensor_shares_memory_with_the_map(tmp_path, storage):
    """Its first byte lies in the mapping of the shard's file; a write into it never reaches the file."""
    (shard,) = fill(tmp_path, range(5), storage).glob("shard-*")
    before, store = shard.read_bytes(), LatentStore(tmp_path)
    tensor = store.tensor("id4")
    assert tensor.dtype is {Storage.FLOAT16: torch.float16, Storage.BFLOAT16: torch.bfloat16}[storage]
    assert mapped_file(tensor.data_ptr()) == str(shard)
    assert tensor.data_ptr() == store.tensor("id4").data_ptr()
    tensor.zero_()
    assert shard.read_bytes() == before


def mapped_file(address):
    """The file that is mapped at an address of this process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, _, _, _, _, *name = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in place.split("-"))
        if start <= address < end:
            return name[0] if name else ""
    return None


def test_int8_is_dequantised_at_each_read(tmp_path):
    """float32 of its own memory: codes times the scale of their token; a token of zeros stays one."""
    with LatentWriter(tmp_path, "fp", HIDDEN, storage=Storage.INT8) as writer:
        writer.add("id", np.stack([np.zeros(HIDDEN), np.linspace(-2.54, 2.54, HIDDEN)]), np.zeros(POOLED))
    store = LatentStore(tmp_path)
    first, second = store.tensor("id"), store.tensor("id")
    assert first.dtype is torch.float32 and first.data_ptr() != second.data_ptr()
    assert (first[0] == 0).all() and torch.equal(first, second)
    np.testing.assert_allclose(first[1] / 0.02, (first[1] / 0.02).round(), atol=1e-4)
    assert first[1, 0] == -first[1, -1] == pytest.approx(-2.54)
    assert store.num_bytes("id") == 2 * HIDDEN + 2 * 4 + POOLED * 4


def test_float16_is_stored_as_it_always_was(tmp_path):
    """Byte by byte the file that was written before there were other storages."""
    (shard,) = fill(tmp_path, range(9), Storage.FLOAT16).glob("shard-*")
    tokens = [states(number).astype(np.float16) for number in range(9)]
    offsets = np.cumsum([0, *(part.size for part in tokens)], dtype=np.int64)
    flat = pa.array(np.concatenate([part.ravel() for part in tokens]), pa.float16())
    pooled = np.repeat(np.arange(9, dtype=np.float32), POOLED)
    columns = {
        "content_id": pa.array([f"id{number}" for number in range(9)], pa.string()),
        "hidden_states": pa.LargeListArray.from_arrays(pa.array(offsets), flat),
        "pooled": pa.FixedSizeListArray.from_arrays(pa.array(pooled, pa.float32()), POOLED),
        "reading": pa.array([f"text {number}" for number in range(9)], pa.string()),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as file:
        file.write_batch(batch)
    assert shard.read_bytes() == sink.getvalue().to_pybytes()
    assert stored_fingerprint("0123456789abcdef", Storage.FLOAT16) == "0123456789abcdef"


def test_a_store_from_before_goes_on(tmp_path):
    """Without storage and bounds in its index it is float16, grows, and says that its error was not measured."""
    fill(tmp_path, range(5), Storage.FLOAT16)
    index = read_index(tmp_path)
    del index["storage"], index["error_bound"]
    index["shards"] = [{key: shard[key] for key in ("name", "count", "digest")} for shard in index["shards"]]
    write_index(tmp_path, index)
    assert LatentStore(tmp_path).storage is Storage.FLOAT16
    store = LatentStore(fill(tmp_path, range(5, 9), Storage.FLOAT16))
    assert len(store) == 9 and store.error_bound is None
    assert read_index(tmp_path)["shards"][1]["error_bound"]["relative_l2"] > 0
    (found,) = verify(tmp_path)
    assert found.is_intact


def test_storages_never_share_a_folder(tmp_path):
    """Their keys differ, and a writer of another storage is refused."""
    assert len({stored_fingerprint("fp", storage) for storage in Storage}) == len(Storage)
    fill(tmp_path, range(3), Storage.INT8)
    with pytest.raises(DatasetError, match=r"int8.*use another folder"):
        LatentWriter(tmp_path, "fp", HIDDEN)
    write_index(tmp_path, read_index(tmp_path) | {"storage": "bfloat16"})
    with pytest.raises(DatasetError, match="holds int8, its index says bfloat16"):
        LatentStore(tmp_path)


@EVERY_STORAGE
@pytest.mark.parametrize("key", ["tokens", "count", "error_bound", "storage"])
def test_an_index_that_says_otherwise_is_named(tmp_path, storage, key):
    """Counts, tokens, storage and overall bound are held against the shards."""
    index = read_index(fill(tmp_path, range(5), storage))
    if key == "error_bound":
        index[key]["relative_l2"] /= 2
    elif key == "storage":
        index[key] = str(next(other for other in Storage if other is not storage))
    else:
        index["shards"][0][key] += 1
    write_index(tmp_path, index)
    (found,) = verify(tmp_path)
    assert found.differences


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_store_keeps_no_file_open(tmp_path):
    """It may have more shards than a process may have files."""
    fill(tmp_path, range(30), Storage.FLOAT16, contents_per_shard=1)
    before = open_files()
    store = LatentStore(tmp_path)
    assert len(store) == 30 and open_files() == before


def test_a_row_is_found_in_constant_time(tmp_path):
    """A hundred times the contents cost the same per look-up; a search through them would cost a hundred times."""
    medians = []
    for count in (100, 10_000):
        states, pooled = np.ones((1, HIDDEN), dtype=np.float32), np.ones(POOLED, dtype=np.float32)
        with LatentWriter(tmp_path / str(count), "fp", HIDDEN) as writer:
            for number in range(count):
                writer.add(f"id{number}", states, pooled)
        store, times = LatentStore(tmp_path / str(count)), []
        for number in np.random.default_rng(0).integers(0, count, 500):
            started = time.perf_counter()
            store.tensor(f"id{number}")
            times.append(time.perf_counter() - started)
        medians.append(sorted(times)[250])
    assert medians[1] < 10 * medians[0]
