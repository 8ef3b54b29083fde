"""What the encode stage finds out by measuring, and how it tells that an encoder has changed behind its fingerprint."""

from __future__ import annotations

import json
import time

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from multimodal.encoders import stage, tuning
from multimodal.encoders.encode import encode_dataset
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.stage import BATCH_SIZE, PARITY, encode_modality
from multimodal.encoders.tuning import Parity, compare_precisions, find_batch_size, is_worth_it
from multimodal.errors import EncoderError
from multimodal.fingerprint import read_index
from multimodal.latents import LatentStore, Pace
from multimodal.sample import Modality, content_digest
from multimodal.storage import Precision, Storage
from tests.encoders.length_encoder import TEXTS, LengthEncoder, write_dataset
from tests.encoders.test_image import picture
from tests.encoders.test_shard import T5, tiny


def options_of(folder, **values):
    path = folder / "t5.json"
    path.write_text(json.dumps(T5))
    return EncoderOptions(kind="bytes", model=str(path), device="cpu", **values)


class Timed(LengthEncoder):
    """Takes a fixed time for a batch and some for each content, by its own clock; has memory for so many."""

    def __init__(self, batch_seconds, content_seconds, room=10**9, sleep=lambda seconds: None):
        super().__init__()
        self.batch_seconds, self.content_seconds, self.room, self.sleep = batch_seconds, content_seconds, room, sleep
        self.now = 0.0

    def encode(self, batch):
        if len(batch) > self.room:
            raise MemoryError
        seconds = self.batch_seconds + self.content_seconds * len(batch)
        self.now += seconds
        self.sleep(seconds)
        return super().encode(batch)


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        (Timed(0.02, 0.0), 64), (Timed(0.0, 0.004), 4), (Timed(0.02, 0.0, room=20), 16),
        (Timed(0.02, 0.0, room=2), 4),
    ],
    ids=["larger is cheaper", "size does not matter", "memory ends", "even the smallest does not fit"],
)  # fmt: skip
def test_the_batch_size_is_found(encoder, expected, monkeypatch):
    """The largest that still pays and fits; what does not fit at all is left to the encode itself to lower."""
    monkeypatch.setattr(tuning.time, "process_time", lambda: encoder.now)
    assert find_batch_size(encoder, [torch.ones(3)] * 64) == expected


def test_an_automatic_batch_size_stays_what_it_was(tmp_path, monkeypatch):
    """A store that was begun with one goes on with it, whatever is measured on another day."""
    dataset, options = write_dataset(tmp_path, TEXTS), options_of(tmp_path, batch_size="auto")
    first = encode_modality(write_dataset(tmp_path / "a", TEXTS[:40]), Modality.TEXT, options, tmp_path / "l")
    found = read_index(first.path)[BATCH_SIZE]
    assert found == first.pace.batch_size and 4 <= found <= 40
    monkeypatch.setattr(stage, "find_batch_size", lambda *_: pytest.fail("measured again"))
    assert encode_modality(dataset, Modality.TEXT, options, tmp_path / "l").pace.batch_size == found


def test_precision_is_part_of_the_identity(tmp_path):
    """Each has its own store; float32 that of before there was a choice; bfloat16 says how far it is from float32."""
    dataset, paths = write_dataset(tmp_path, TEXTS), {}
    for precision in Precision:
        info = encode_modality(dataset, Modality.TEXT, options_of(tmp_path, precision=str(precision)), tmp_path / "l")
        assert (info.count, info.precision) == (50, precision)
        paths[precision] = info.path
    assert paths[Precision.FLOAT32].name == tiny(Modality.TEXT, tmp_path).fingerprint
    assert len(set(paths.values())) == 2 and PARITY not in read_index(paths[Precision.FLOAT32])
    parity = read_index(paths[Precision.BFLOAT16])[PARITY]
    assert parity["contents"] == 16 and 0 < parity["relative_l2"] < 0.05 and parity["cosine"] > 0.99
    key = content_digest(TEXTS[0].encode())
    exact, rounded = (LatentStore(paths[precision]).tensor(key).float() for precision in Precision)
    assert 0 < (exact - rounded).norm() / exact.norm() < 0.05


def test_fingerprints_of_storage_and_precision(tmp_path):
    """All combinations differ, and an encoder that is told twice is as if told once."""
    encoder = tiny(Modality.TEXT, tmp_path)
    bare, found = encoder.fingerprint, set()
    for storage in Storage:
        for precision in Precision:
            encoder.keep(storage, precision)
            found.add(encoder.fingerprint)
    assert len(found) == 6 and bare in found
    encoder.keep(Storage.FLOAT16, Precision.FLOAT32)
    assert encoder.fingerprint == bare


def test_bfloat16_products_are_of_whole_batches(tmp_path):
    """No product of a weight with each row of a batch apart, which torch makes of frozen weights; and no gradients."""
    encoder = tiny(Modality.IMAGE, tmp_path)
    inputs = [encoder.preprocess(picture(number)) for number in range(4)]
    encoder.keep(Storage.FLOAT16, Precision.BFLOAT16)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        output = encoder(inputs)
    assert not output.hidden_states.requires_grad and not output.pooled.requires_grad
    names = {event.key for event in profiled.key_averages()}
    assert "aten::addmm" in names and "aten::bmm" not in names


@pytest.mark.parametrize("faster", [True, False])
def test_automatic_precision_stays_what_it_was(tmp_path, monkeypatch, faster):
    """The first encode measures; later ones go on with what is stored, as the measurement would not come out again."""
    parity = Parity(16, 0.01, 0.999, 3.0 if faster else 0.5)
    monkeypatch.setattr(stage, "compare_precisions", lambda *_: parity)
    options, chosen = options_of(tmp_path, precision="auto"), Precision.BFLOAT16 if faster else Precision.FLOAT32
    first = encode_modality(write_dataset(tmp_path / "a", TEXTS[:40]), Modality.TEXT, options, tmp_path / "l")
    assert first.precision is chosen and read_index(first.path)[PARITY] == parity.to_json()
    monkeypatch.setattr(stage, "compare_precisions", lambda *_: pytest.fail("measured again"))
    second = encode_modality(write_dataset(tmp_path, TEXTS), Modality.TEXT, options, tmp_path / "l")
    assert (second.path, second.encoded, second.precision) == (first.path, 10, chosen)


def test_precisions_are_compared_by_running_both(tmp_path):
    """The real encoder in both; it is left in its own."""
    encoder = tiny(Modality.TEXT, tmp_path)
    parity = compare_precisions(encoder, [encoder.preprocess(text.encode()) for text in TEXTS[:8]])
    assert encoder.precision is Precision.FLOAT32
    assert parity.contents == 8 and 1e-5 < parity.relative_l2 < 0.05 and 0.99 < parity.cosine < 1.0001
    assert not is_worth_it(Parity(8, 0.2, 0.9, 5.0)) and not is_worth_it(Parity(8, 0.01, 0.999, 1.1))


def probed(tmp_path, encoder, probe=4):
    return encode_dataset(write_dataset(tmp_path / "b", TEXTS), Modality.TEXT, encoder, tmp_path / "l", probe=probe)


@pytest.mark.parametrize("storage", Storage)
@pytest.mark.parametrize("precision", Precision)
def test_an_unchanged_encoder_passes_the_probe(tmp_path, storage, precision):
    """Other batches and the storage's rounding are no drift."""
    options = options_of(tmp_path, storage=storage, precision=str(precision))
    for texts in (TEXTS[:30], TEXTS):
        dataset = write_dataset(tmp_path / str(len(texts)), texts)
        info = encode_modality(dataset, Modality.TEXT, options, tmp_path / "l", probe=16)
        assert info.count == len(texts)


@pytest.mark.parametrize("change", [1.02, 0.0, float("nan")])
def test_a_changed_encoder_is_found_and_named(tmp_path, change):
    """Another answer behind the same fingerprint ends the run before anything is encoded or used."""
    encode_dataset(write_dataset(tmp_path / "a", TEXTS[:30]), Modality.TEXT, LengthEncoder(), tmp_path / "l")

    class Changed(LengthEncoder):
        def encode(self, batch):
            output = super().encode(batch)
            output.hidden_states.mul_(change)
            return output

    with pytest.raises(
        EncoderError, match=r"length-1 has changed behind its fingerprint: of content [0-9a-f]+, .*differ"
    ):
        probed(tmp_path, Changed())
    assert len(LatentStore(tmp_path / "l")) == 30
    assert probed(tmp_path, Changed(), probe=0).encoded == 20


def test_the_probe_encodes_as_many_as_asked_for(tmp_path):
    """And none where nothing is stored."""
    first = LengthEncoder()
    encode_dataset(write_dataset(tmp_path / "a", TEXTS[:30]), Modality.TEXT, first, tmp_path / "l", probe=4)
    assert sum(len(batch) for batch in first.seen) == 30
    second = LengthEncoder()
    assert probed(tmp_path, second).encoded == 20
    assert sum(len(batch) for batch in second.seen) == 24


def test_the_bottleneck_is_what_would_take_longest_alone():
    """Decoders work side by side; what they do together may be what the model waits for."""
    steps = {"decode": 6.0, "preprocess": 2.0, "model": 5.0, "write": 1.0, "wait": 3.0}
    assert Pace(100, 10.0, steps).bottleneck == "decode"
    assert Pace(100, 10.0, steps, decoders=2).bottleneck == "model"
    assert Pace(100, 10.0, steps | {"write": 9.0}).bottleneck == "write"
    assert Pace(100, 10.0, steps | {"preprocess": 7.0}).bottleneck == "preprocess"
    pace = Pace(100, 10.0, steps)
    assert (pace.per_second, pace.model_share, pace.line) == (10.0, 0.5, "10/s, 50% in the model, held up by decode")
    assert Pace(0, 0.0, {}).per_second == 0 and Pace(0, 0.0, {}).model_share == 0


def test_an_encode_knows_its_pace(tmp_path):
    """A slow model is what holds it up, and most of its time is spent there; nothing to do has no pace."""
    dataset = write_dataset(tmp_path, TEXTS)
    info = encode_dataset(dataset, Modality.TEXT, Timed(0.02, 0.0, sleep=time.sleep), tmp_path / "l", batch_size=5)
    assert info.pace.bottleneck == "model" and 0.4 < info.pace.model_share <= 1
    assert info.pace.contents == 50 and 0.2 <= info.pace.steps["model"] <= info.pace.seconds
    assert encode_dataset(dataset, Modality.TEXT, Timed(0.02, 0.0, sleep=time.sleep), tmp_path / "l").pace is None
