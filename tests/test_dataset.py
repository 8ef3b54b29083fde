from __future__ import annotations

import dataclasses

import pytest

from multimodal.dataset import Dataset, DatasetWriter, Fate, LedgerRow, read_ledger
from multimodal.errors import DatasetError
from multimodal.fingerprint import INDEX
from multimodal.sample import Content, Modality, Sample, Split, Task, content_digest, sample_digest


def make_sample(task, number, split=Split.TRAIN, data=None):
    text = f"text {number}"
    noisy = f"txt {number}" if task is Task.DENOISE else ""
    content_id = content_digest(data or noisy.encode() or text.encode())
    key = sample_digest(content_id, task, "", text)
    return Sample(key, content_id, task.modality, task, split, content_id, "s", f"m#{number}", text, noisy)


@pytest.fixture
def samples():
    """Six samples: two captions of one picture, a transcript, two denoise, one infill."""
    return [
        make_sample(Task.CAPTION, 1, data=b"picture"),
        make_sample(Task.CAPTION, 2, data=b"picture"),
        make_sample(Task.TRANSCRIBE, 3, Split.TEST, data=b"sound"),
        make_sample(Task.DENOISE, 4),
        make_sample(Task.DENOISE, 5, Split.VAL),
        make_sample(Task.INFILL, 6),
    ]


@pytest.fixture
def write(tmp_path, samples):
    """`write(samples, ledger rows)`: a dataset on disk."""

    def finish(kept=samples, further=()):
        with DatasetWriter.open(tmp_path / "dataset/fp", tmp_path / "ledger/fp", {"code": "1"}) as writer:
            for data, modality in ((b"picture", Modality.IMAGE), (b"sound", Modality.AUDIO)):
                writer.add_media(Content(content_digest(data), modality, data))
            for sample in kept:
                writer.add_sample(sample)
                writer.add_ledger(LedgerRow("s", sample.uri, Fate.KEPT, sample_id=sample.sample_id))
            for row in further:
                writer.add_ledger(row)
        return tmp_path / "dataset/fp"

    return finish


def test_samples_come_back_as_they_went_in(write, samples):
    """Order and every field survive the disk."""
    assert Dataset(write()).samples() == samples


def test_samples_are_chosen_by_split_and_task(write, samples):
    """Both filters hold, alone and together."""
    dataset = Dataset(write())
    assert dataset.samples(split=Split.TEST) == samples[2:3]
    assert dataset.samples(task=Task.DENOISE) == samples[3:5]
    assert dataset.samples(split=Split.VAL, task=Task.DENOISE) == samples[4:5]


def test_content_ids_are_distinct_sorted_and_without_infill(write, samples):
    """What has to be encoded: each content once; infill conditions on its own canvas."""
    dataset = Dataset(write())
    assert dataset.content_ids(Modality.IMAGE) == [content_digest(b"picture")]
    assert dataset.content_ids(Modality.TEXT) == sorted({samples[3].content_id, samples[4].content_id})


def test_contents_are_given_once_with_their_bytes(write):
    """Media from their parts, texts from the samples' inputs."""
    dataset = Dataset(write())
    assert sorted(content.data for content in dataset.contents()) == [b"picture", b"sound", b"txt 4", b"txt 5"]
    assert [content.data for content in dataset.contents(modality=Modality.AUDIO)] == [b"sound"]
    assert [content.data for content in dataset.contents(modality=Modality.TEXT)] == [b"txt 4", b"txt 5"]
    assert [content.data for content in dataset.contents([content_digest(b"picture")])] == [b"picture"]
    assert list(dataset.contents([], Modality.IMAGE)) == []


def test_info_counts_rows_and_samples(write):
    """Counts by fate, split, task and reason; the ledger's place follows from the dataset's."""
    further = [LedgerRow("s", "m#7", Fate.QUARANTINED, "too_small", "2 x 2"), LedgerRow("s", "m#8", Fate.DUPLICATE)]
    info = Dataset(write(further=further)).info
    assert dataclasses.asdict(info.counts) == {"rows": 8, "kept": 6, "quarantined": 1, "duplicate": 1}
    assert info.by_split == {"test": 1, "train": 4, "val": 1}
    assert info.by_task == {"caption": 2, "transcribe": 1, "denoise": 2, "infill": 1}
    assert info.by_reason == {"too_small": 1}
    assert read_ledger(info.ledger, Fate.QUARANTINED) == further[:1]
    assert len(read_ledger(info.ledger)) == 8


def test_the_digest_follows_the_samples(write, samples):
    """One changed letter changes the digest; writing the same again does not."""
    first = Dataset(write()).info.digest
    assert Dataset(write()).info.digest == first
    changed = [dataclasses.replace(samples[0], text="other"), *samples[1:]]
    assert Dataset(write(changed)).info.digest != first


def test_a_ledger_that_does_not_balance_is_refused(tmp_path, samples):
    """A sample without a ledger row would be a row lost: nothing is written."""
    folders = tmp_path / "dataset/fp", tmp_path / "ledger/fp"
    with pytest.raises(DatasetError, match="does not balance"), DatasetWriter.open(*folders, {}) as writer:
        writer.add_sample(samples[0])
    assert not any(folder.exists() for folder in folders)


def test_rows_that_the_sources_have_must_be_in_the_ledger(tmp_path, samples):
    """A row that was read and has no fate is a row lost too: the source is named, nothing is written."""
    folders = tmp_path / "dataset/fp", tmp_path / "ledger/fp"
    with (
        pytest.raises(DatasetError, match="source 's' does not balance: 2 rows in, but 1 kept"),
        DatasetWriter.open(*folders, {}, {"s": 2}) as writer,
    ):
        writer.add_sample(samples[0])
        writer.add_ledger(LedgerRow("s", "m#1", Fate.KEPT, sample_id=samples[0].sample_id))
    assert not any(folder.exists() for folder in folders)


def test_the_merkle_root_follows_the_rows_and_not_their_order(write, samples):
    """Another order is the same content; a sample more or less, or a split changed, is not."""
    root = Dataset(write()).info.merkle_root
    assert len(root) == 64
    assert Dataset(write(samples[::-1])).info.merkle_root == root
    moved = [dataclasses.replace(samples[0], split=Split.TEST), *samples[1:]]
    roots = {Dataset(write(kept)).info.merkle_root for kept in (samples[1:], moved)}
    assert len(roots | {root}) == 3


def test_an_absent_or_unfinished_dataset_names_the_cure(tmp_path, write):
    """A folder without its index is not there, whatever else it holds."""
    with pytest.raises(DatasetError, match="multimodal ingest"):
        Dataset(tmp_path / "nothing")
    path = write()
    (path / INDEX).unlink()
    with pytest.raises(DatasetError, match="multimodal ingest"):
        Dataset(path)
    with pytest.raises(DatasetError, match="multimodal ingest"):
        read_ledger(tmp_path / "nothing")


def test_an_empty_dataset_can_be_read(write):
    """No kept sample is a dataset too; what to do about it is for later stages to say."""
    dataset = Dataset(write(()))
    assert dataset.samples() == []
    assert dataset.info.counts.rows == 0
