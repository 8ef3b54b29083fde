"""The shard function: the same latents whatever the batches and workers, and what it does when memory runs out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from multimodal.encoders import build_encoder
from multimodal.encoders.base import Encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.shard import TOLERANCE, ShardEncoder, ShardOptions, is_out_of_memory
from multimodal.latents import FinishedShard, LatentStore, LatentWriter, merge_shards
from multimodal.sample import Content, Modality
from multimodal.storage import Precision
from tests.encoders.length_encoder import TEXTS, LengthEncoder
from tests.encoders.test_audio import MODELS, sound
from tests.encoders.test_image import VIT, picture

ROOT = Path(__file__).parents[2]
T5 = {"vocab_size": 300, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}


def tiny(modality: Modality, folder: Path, **values) -> Encoder:
    """A tiny real encoder with random weights."""
    kind, config = {
        Modality.IMAGE: ("open_clip", VIT), Modality.AUDIO: MODELS["masked whisper"], Modality.TEXT: ("bytes", T5),
    }[modality]  # fmt: skip
    path = folder / f"{modality}.json"
    path.write_text(json.dumps(config))
    return build_encoder(EncoderOptions(kind=kind, model=str(path), device="cpu", **values), modality)


def contents_of(modality: Modality, count: int = 20) -> list[Content]:
    """Contents of many lengths and sizes."""
    make = {
        Modality.IMAGE: lambda n: picture(n, "JPEG", (40 + 3 * n, 50 - n)),
        Modality.AUDIO: lambda n: sound(0.1 + 0.07 * (7 * n % count)),
        Modality.TEXT: lambda n: f"text {'long ' * (7 * n % count)} {n}".encode(),
    }[modality]
    return [Content(f"{number:04d}", modality, make(number)) for number in range(count)]


def as_tensors(shard: FinishedShard, encoder: Encoder, folder: Path) -> dict[str, torch.Tensor]:
    """What a store gives of a shard."""
    with LatentWriter(folder, encoder.fingerprint, encoder.hidden_size, storage=encoder.storage) as writer:
        writer.add_shard(shard)
    store = LatentStore(folder)
    return {content_id: store.tensor(content_id).float() for content_id in store}


@pytest.mark.parametrize("modality", Modality)
@pytest.mark.parametrize("precision", Precision)
def test_latents_are_those_of_any_batch_size_worker_count_and_order(tmp_path, modality, precision):
    """Within the tolerance that is stated; repeated alike, to the byte."""
    encoder, contents = tiny(modality, tmp_path, precision=str(precision)), contents_of(modality)
    ways = {
        "one by one": (ShardOptions(1, 1), contents), "batches of 3": (ShardOptions(3, 3), contents),
        "all at once": (ShardOptions(64, 2), contents), "backwards": (ShardOptions(7, 2), contents[::-1]),
    }  # fmt: skip
    found = {}
    for name, (options, given) in ways.items():
        with ShardEncoder(encoder, options) as shard_encoder:
            shard, again = shard_encoder(given), shard_encoder(given)
        assert shard == again and shard.count == len(contents) and not shard.failed
        found[name] = as_tensors(shard, encoder, tmp_path / name)
    for name, others in found.items():
        for content_id, states in found["one by one"].items():
            apart = (others[content_id] - states).norm() / states.norm()
            assert apart <= TOLERANCE[precision] + 2**-10, (name, content_id)


@pytest.mark.parametrize("modality", Modality)
def test_preparation_is_preprocessing(tmp_path, modality):
    """What workers prepare gives the same states, to the bit, as what `preprocess` gives; and it holds no weights."""
    import pickle

    encoder = tiny(modality, tmp_path)
    preparation = encoder.preparation()
    assert len(pickle.dumps(preparation)) < 60_000
    apart = pickle.loads(pickle.dumps(preparation))
    for content in contents_of(modality, 5):
        prepared = apart.transform(apart.decode(content.data))
        whole = encoder.preprocess(content.data)
        assert torch.equal(encoder([prepared]).hidden_states, encoder([whole]).hidden_states)


@pytest.mark.slow
def test_processes_prepare_like_threads(tmp_path):
    """The same bytes, whoever decodes; failures come back with their reason."""
    encoder = tiny(Modality.AUDIO, tmp_path)
    contents = [*contents_of(Modality.AUDIO), Content("bad", Modality.AUDIO, b"RIFF and nothing more")]
    shards = []
    for in_processes in (False, True):
        with ShardEncoder(encoder, ShardOptions(8, 2, in_processes)) as shard_encoder:
            shards.append(shard_encoder(contents))
    assert shards[0] == shards[1] and set(shards[0].failed) == {"bad"}


def test_a_shard_is_plain_data():
    """It can be sent to another process, and parts of it merge to what it is as a whole."""
    import pickle

    contents = [Content(text, Modality.TEXT, text.encode()) for text in [*TEXTS[:9], "no!"]]
    with ShardEncoder(LengthEncoder(), ShardOptions(1)) as encode:
        whole, parts = encode(contents), [encode(contents[:4]), encode(contents[4:])]
        assert encode([]) == FinishedShard()
    assert pickle.loads(pickle.dumps(whole)) == whole
    merged = merge_shards([*parts, FinishedShard()])
    assert (merged.count, merged.tokens, merged.failed) == (9, whole.tokens, whole.failed)


class Cramped(LengthEncoder):
    """Has memory for so many contents at once."""

    def __init__(self, room, error):
        super().__init__()
        self.room, self.error = room, error

    def encode(self, batch):
        if len(batch) > self.room:
            self.seen.append(["too many"])
            raise self.error
        return super().encode(batch)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_batches_are_halved_until_they_fit(error):
    """The batch that did not fit is encoded in halves, and later ones are as small from the start."""
    encoder = Cramped(3, error)
    contents = [Content(text, Modality.TEXT, text.encode()) for text in TEXTS]
    with ShardEncoder(encoder, ShardOptions(16, 1)) as encode:
        shard = encode(contents)
        assert encode.batch_size == 2
    assert shard.count == len(TEXTS) and not shard.failed
    assert sum(batch == ["too many"] for batch in encoder.seen) == 3


def test_other_errors_are_no_lack_of_memory():
    """A defect is not taken for a full memory."""
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


LIMITED = """
import json, resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from multimodal.encoders.shard import ShardEncoder, ShardOptions
from multimodal.sample import Content, Modality
from tests.encoders.test_shard import tiny
encoder = tiny(Modality.TEXT, Path(sys.argv[1]))
contents = [Content(str(number), Modality.TEXT, b"%03d " % number * 250) for number in range(64)]
with ShardEncoder(encoder, ShardOptions(2, 1)) as encode:
    encode(contents[:2])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 2**20,) * 2)
with ShardEncoder(encoder, ShardOptions(64, 1)) as encode:
    shard = encode(contents)
    print(json.dumps([shard.count, len(shard.failed), encode.batch_size]))
"""


@pytest.mark.slow
def test_a_real_encoder_in_little_memory(tmp_path):
    """Under a limit of address space, attention over 64 long texts does not fit; the stage finds out what does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    count, failed, batch_size = json.loads(done.stdout.splitlines()[-1])
    assert (count, failed) == (64, 0) and batch_size < 64
