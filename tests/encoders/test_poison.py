"""Shards that fail: what is to blame is found, and nothing else is lost."""

from __future__ import annotations

import os

import pytest
import torch

from multimodal.encoders.base import Preparation
from multimodal.encoders.encode import encode_dataset, missing_contents
from multimodal.encoders.poison import ATTEMPTS, Rescue
from multimodal.encoders.shard import ShardEncoder, ShardOptions
from multimodal.errors import EncoderError
from multimodal.latents import LatentStore
from multimodal.sample import Content, Modality, content_digest
from tests.encoders.length_encoder import TEXTS, LengthEncoder, write_dataset


class Brittle(LengthEncoder):
    """Raises on batches with a `*`, and on everything after so many batches."""

    def __init__(self, breaks_after=10**9, error=None):
        super().__init__()
        self.breaks_after, self.error = breaks_after, error or ValueError("not like this")

    def encode(self, batch):
        output = super().encode(batch)
        if len(self.seen) > self.breaks_after or any((row == ord("*")).any() for row in batch):
            raise self.error
        return output


def encode(dataset, encoder, folder, **options):
    return encode_dataset(
        dataset, Modality.TEXT, encoder, folder, **{"batch_size": 5, "contents_per_shard": 10} | options
    )


def test_the_poison_row_is_found_and_named(tmp_path):
    """The contents beside it are encoded; it is noted with its reason, and not tried again."""
    texts = [*TEXTS, "poison *", "more * of it"]
    dataset, encoder = write_dataset(tmp_path, texts), Brittle()
    info = encode(dataset, encoder, tmp_path / "l")
    assert info.count == len(TEXTS)
    assert set(info.failed) == {content_digest(text.encode()) for text in texts[-2:]}
    why = LatentStore(tmp_path / "l").failed[content_digest(b"poison *")]
    assert why == "the encoder fails on it: ValueError: not like this"
    assert missing_contents(dataset, Modality.TEXT, tmp_path / "l") == []


def test_a_shard_is_tried_three_times_first(tmp_path):
    """What passes by itself leaves no trace: no content is suspected."""

    class Hiccup(LengthEncoder):
        failures = 0

        def encode(self, batch):
            if len(self.seen) == 2 and self.failures < ATTEMPTS - 1:
                self.failures += 1
                raise ConnectionError("for a moment")
            return super().encode(batch)

    encoder = Hiccup()
    info = encode(write_dataset(tmp_path, TEXTS), encoder, tmp_path / "l")
    assert (info.count, info.failed, encoder.failures) == (50, (), ATTEMPTS - 1)


@pytest.mark.parametrize("breaks_after", [0, 4])
def test_a_broken_encoder_is_not_the_contents_fault(tmp_path, breaks_after):
    """Where everything fails, also what was encoded before, the run ends, and no content is marked."""
    dataset, encoder = write_dataset(tmp_path, TEXTS), Brittle(breaks_after)
    with pytest.raises(EncoderError, match="fails on all of 10 contents, 3 times: ValueError: not like this"):
        encode(dataset, encoder, tmp_path / "l")
    store = LatentStore(tmp_path / "l")
    assert store.failed == {} and len(store) == 5 * breaks_after
    assert encode(dataset, LengthEncoder(), tmp_path / "l").count == 50


def test_an_io_error_stays_one(tmp_path):
    """So that the stage is tried again."""
    with pytest.raises(OSError, match="disk"):
        encode(write_dataset(tmp_path, TEXTS), Brittle(0, OSError("disk")), tmp_path / "l")


def test_a_shard_that_is_all_poison_is_no_broken_encoder(tmp_path):
    """What was encoded before is encoded once more, and tells the two apart."""
    texts = [*TEXTS[:10], *(f"* {number}" for number in range(10))]
    info = encode(write_dataset(tmp_path, texts), Brittle(), tmp_path / "l")
    assert (info.count, len(info.failed)) == (10, 10)


def test_errors_of_the_dataset_are_its_own(tmp_path):
    """A part that cannot be read is not tried three times, and is nobody's poison."""

    class Damaged:
        def __init__(self, dataset):
            self._dataset, self.path, self.asked = dataset, dataset.path, 0

        def content_ids(self, modality):
            return self._dataset.content_ids(modality)

        def contents(self, *arguments):
            self.asked += 1
            for number, content in enumerate(self._dataset.contents(*arguments)):
                if number == 25:
                    raise OSError("the disk is gone")
                yield content

    dataset = Damaged(write_dataset(tmp_path, TEXTS))
    with pytest.raises(OSError, match="the disk is gone"):
        encode(dataset, LengthEncoder(), tmp_path / "l")
    assert dataset.asked == 1


def decode_or_die(data):
    """A decoder that takes its process with it."""
    if b"*" in data:
        os._exit(9)
    return torch.tensor(list(data), dtype=torch.float32)


class Deadly(LengthEncoder):
    """Its decoder ends the process on a `*`."""

    def preparation(self):
        return Preparation(bytes, decode_or_die)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_content_that_kills_its_process(tmp_path):
    """In worker processes it costs itself, however often; the run lives."""
    texts = [*TEXTS[:12], "poison *"]
    info = encode(write_dataset(tmp_path, texts), Deadly(), tmp_path / "l", options=ShardOptions(5, 1, True))
    assert (info.count, info.failed) == (12, (content_digest(b"poison *"),))
    assert "BrokenProcessPool" in LatentStore(tmp_path / "l").failed[content_digest(b"poison *")]


def test_the_whole_shard_is_tried_again_before_any_part_of_it():
    """Three attempts in all; only then are contents suspected."""
    tried = []
    contents = [Content(text, Modality.TEXT, text.encode()) for text in ("one", "two", "three", "four")]
    with ShardEncoder(LengthEncoder(), ShardOptions(5)) as shard_encoder:

        def encode(part):
            tried.append(len(part))
            if len(tried) < ATTEMPTS - 1:
                raise ValueError("for a moment")
            return shard_encoder(part)

        made = Rescue(encode)(contents, ValueError("the first time"))
    assert tried == [4] * (ATTEMPTS - 1)
    assert made.count == 4 and not made.failed
