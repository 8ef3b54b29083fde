"""Pictures and sounds that have no file of their own, from the source to the latents."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multimodal.dataset import Dataset, Fate, read_ledger
from multimodal.encoders import build_encoder
from multimodal.encoders.encode import encode_dataset
from multimodal.encoders.options import EncoderOptions
from multimodal.ingest import ingest, plan_ingest
from multimodal.ingest.options import IngestOptions
from multimodal.latents import LatentStore
from multimodal.sample import Modality, Split, content_digest


@pytest.fixture
def corpus(tmp_path, tar, picture, sound):
    """Options of a WebDataset of pictures and a Hugging Face folder of sounds, with bad rows and duplicates in both."""
    members = [("1.jpg", picture(1)), ("1.txt", b"one\nuno"), ("2.jpg", picture(2)[:400]), ("2.txt", b"cut")]
    members += [("../3.jpg", picture(3)), ("../3.txt", b"away"), ("4.jpg", picture(1)), ("4.txt", b"one")]
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/train-0.tar").write_bytes(tar(members))
    (tmp_path / "shards/val-0.tar").write_bytes(tar([("5.jpg", picture(5)), ("5.txt", b"five")]))
    (tmp_path / "clips/data").mkdir(parents=True)
    clips = [sound(1), sound(amplitude=0), sound(2), None]
    media = pa.array([{"bytes": clip, "path": f"{n}.wav"} for n, clip in enumerate(clips)])
    table = pa.table({"audio": media, "text": ["hello", "silence", "bye", "lost"], "speaker": ["eve"] * 4})
    pq.write_table(table, tmp_path / "clips/data/test-00000-of-00001.parquet", row_group_size=3)
    sources = [
        {"name": "shards", "path": tmp_path / "shards", "task": "caption"},
        {"name": "clips", "path": tmp_path / "clips", "task": "transcribe"},
    ]
    return IngestOptions.model_validate({"sources": sources})


def test_every_row_has_one_fate(corpus, tmp_path):
    """Counts balance; official splits are given through; each content is stored once."""
    info = ingest(corpus, seed=0, workspace=tmp_path / "w")
    assert (info.counts.rows, info.counts.kept, info.counts.quarantined, info.counts.duplicate) == (10, 5, 4, 1)
    assert info.by_split == {"train": 2, "val": 1, "test": 2}
    assert info.by_reason == {"missing_file": 1, "silent_audio": 1, "truncated_image": 1, "unsafe_name": 1}
    assert len(list(Dataset(info.path).contents())) == 4
    assert [row.uri.split("#")[0] for row in read_ledger(info.ledger, Fate.DUPLICATE)] == ["train-0.tar"]


def test_the_uri_of_a_sample_finds_its_bytes_again(corpus, tmp_path):
    """Offset in the shard; row group and row in the table: there lie the bytes that the content id is the digest of."""
    dataset = Dataset(ingest(corpus, seed=0, workspace=tmp_path / "w").path)
    sizes = {content.content_id: len(content.data) for content in dataset.contents()}
    for sample in dataset.samples():
        name, place, *_ = sample.uri.split("#")
        if sample.modality is Modality.IMAGE:
            data = (tmp_path / "shards" / name).read_bytes()[int(place) :][: sizes[sample.content_id]]
        else:
            group, row = map(int, place.split("."))
            column = pq.ParquetFile(tmp_path / "clips" / name).read_row_group(group).column("audio")
            data = column[row].as_py()["bytes"]
        assert content_digest(data) == sample.content_id


def test_a_changed_shard_changes_the_fingerprint(corpus, tmp_path, tar, picture):
    """The digest of the inputs is over the shard as a whole."""
    before = plan_ingest(corpus, 0)
    (tmp_path / "shards/val-0.tar").write_bytes(tar([("5.jpg", picture(6)), ("5.txt", b"five")]))
    after = plan_ingest(corpus, 0)
    assert {key for key in before if before[key] != after[key]} == {"inputs"}


@pytest.mark.parametrize(
    ("modality", "kind", "weights"),
    [(Modality.IMAGE, "open_clip", "data/encoders/image"), (Modality.AUDIO, "whisper", "data/encoders/audio")],
)
def test_what_was_ingested_is_encoded(corpus, tmp_path, project_folder, modality, kind, weights):
    """All contents of shards and tables reach the latent store, when their sources are gone too."""
    info = ingest(corpus, seed=0, workspace=tmp_path / "w")
    for folder in ("shards", "clips"):
        (tmp_path / folder).rename(tmp_path / f"{folder}-gone")
    dataset = Dataset(info.path)
    encoder = build_encoder(EncoderOptions(kind=kind, weights=weights), modality)
    encoded = encode_dataset(dataset, modality, encoder, tmp_path / "latents")
    assert encoded.count == len(dataset.content_ids(modality)) == 2 and not encoded.failed
    store = LatentStore(tmp_path / "latents")
    assert all(content_id in store for content_id in dataset.content_ids(modality))
    assert {sample.split for sample in dataset.samples()} == set(Split)
