"""Names that stand for pipes, folders, devices or nothing: none is opened, none holds an ingest up."""

from __future__ import annotations

import os
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multimodal.errors import SourceError
from multimodal.ingest import source_kinds
from multimodal.ingest.options import IngestOptions, SourceOptions
from multimodal.ingest.readers import open_reader
from multimodal.ingest.reasons import Reason

SECONDS = 10


@pytest.fixture(autouse=True)
def _soon():
    """To open a pipe waits for ever: a test that does so fails instead."""

    def late(*_):
        raise AssertionError("waited for a pipe")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


ODD = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
    "folder": lambda path: path.mkdir(),
}


def rows_of(path, task="caption", **options):
    return list(open_reader(SourceOptions(name="s", path=path, task=task, **options)).rows())


@pytest.mark.parametrize("make", [ODD[name] for name in ("pipe", "device", "dangling", "loop")])
def test_a_shard_that_is_no_plain_file_is_one_row(tmp_path, tar, picture, make):
    """Its neighbours are read; so are those of a Parquet file."""
    (tmp_path / "t").mkdir()
    (tmp_path / "t/b.tar").write_bytes(tar([("1.jpg", picture()), ("1.txt", b"one")]))
    make(tmp_path / "t/x.tar")
    assert [row.problem for row in rows_of(tmp_path / "t")] == [None, Reason.INVALID_ARCHIVE]
    (tmp_path / "p").mkdir()
    pq.write_table(pa.table({"image": [picture()], "text": ["one"]}), tmp_path / "p/b.parquet")
    make(tmp_path / "p/a.parquet")
    assert [row.problem for row in rows_of(tmp_path / "p")] == [Reason.INVALID_ARCHIVE, None]


@pytest.mark.parametrize("name", ["x.tar", "x.parquet", "m.csv", "m.tsv", "m.jsonl", "m.txt", "m.json", "m"])
@pytest.mark.parametrize("odd", ODD)
def test_a_source_that_is_no_plain_file_is_refused(tmp_path, name, odd):
    """In one line, whatever its name says that it is, and whether its kind is recognised or given."""
    ODD[odd](tmp_path / name)
    source = {"name": "s", "path": tmp_path / name, "task": "caption"}
    for kind in (None, "csv", "jsonl", "parquet", "webdataset", "coco", "karpathy"):
        with pytest.raises(SourceError, match=r"^source 's': .*") as caught:
            open_reader(SourceOptions(**source, kind=kind))
        assert "\n" not in str(caught.value)
    if odd != "folder":
        with pytest.raises(SourceError):
            source_kinds(IngestOptions(sources=[source]))


def test_a_list_of_a_corpus_that_is_a_pipe_is_not_waited_for(tmp_path, picture, sound):
    """Transcripts are rows of their own; lists of splits and files of captions belong to the whole source."""
    speech = tmp_path / "speech/train-clean/19/1"
    speech.mkdir(parents=True)
    (speech / "19-1-0.flac").write_bytes(sound(kind="FLAC"))
    os.mkfifo(speech / "19-1.trans.txt")
    assert [row.problem for row in rows_of(tmp_path / "speech", "transcribe")] == [Reason.MISSING_FILE]
    (tmp_path / "flickr/Images").mkdir(parents=True)
    (tmp_path / "flickr/Images/a.jpg").write_bytes(picture())
    (tmp_path / "flickr/captions.txt").write_text("image,caption\na.jpg,one\n")
    os.mkfifo(tmp_path / "flickr/train.txt")
    with pytest.raises(SourceError, match="split list"):
        rows_of(tmp_path / "flickr")
    (tmp_path / "coco/annotations").mkdir(parents=True)
    os.mkfifo(tmp_path / "coco/annotations/captions_train.json")
    with pytest.raises(SourceError, match="cannot be read"):
        rows_of(tmp_path / "coco")
    (tmp_path / "m.csv").write_text("path,text\na.jpg,one\n")
    os.mkfifo(tmp_path / "test.list")
    with pytest.raises(SourceError, match="neither a plain file"):
        rows_of(tmp_path / "m.csv", split_files={"test": tmp_path / "test.list"})
