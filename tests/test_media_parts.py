"""Parts cut by content: what is held decides a part's bytes, and a later dataset takes over what did not change."""

from functools import partial

import pyarrow.parquet as pq
import pytest

from multimodal import media_parts
from multimodal.dataset import Dataset, DatasetWriter
from multimodal.errors import DatasetError
from multimodal.fingerprint import file_digest, file_digests, read_index
from multimodal.sample import Content, Modality, UnreadContent, content_digest


@pytest.fixture
def short_parts(monkeypatch):
    """Parts of four contents on average."""
    monkeypatch.setattr(media_parts, "CONTENTS_PER_PART", 4)


def content(number):
    data = f"content {number}".encode()
    return Content(content_digest(data), Modality.IMAGE, data)


def unread(number, reads):
    one = content(number)

    def read():
        reads.append(number)
        return one.data

    return UnreadContent(one.content_id, one.modality, one.size, read)


def write(workspace, name, contents, **options):
    folder = workspace / "dataset" / name
    with DatasetWriter.open(folder, workspace / "ledger" / name, {}, **options) as writer:
        for one in contents:
            writer.add_media(one)
    return folder


def parts(folder):
    return {path.name: path for path in sorted(folder.glob("media-*.parquet"))}


def test_a_changed_content_changes_its_part_alone(short_parts, tmp_path):
    """All other parts are the same files on disk, and of their contents nothing is read."""
    first = write(tmp_path, "a", map(content, range(60)))
    reads = []
    second = write(tmp_path, "b", [unread(99 if number == 30 else number, reads) for number in range(60)])
    before, after = parts(first), parts(second)
    assert len(before) > 8
    shared = {path.stat().st_ino for path in before.values()} & {path.stat().st_ino for path in after.values()}
    assert len(shared) >= len(before) - 2  # it may have ended a part: then two have become one
    assert 99 in reads and len(reads) < 30
    assert {one.data for one in Dataset(second).contents()} == {
        content(99 if number == 30 else number).data for number in range(60)
    }
    assert read_index(second)["files"] == file_digests(second)


@pytest.mark.parametrize("change", [lambda numbers: numbers[1:], lambda numbers: [99, *numbers]], ids=["gone", "new"])
def test_parts_after_a_removed_or_a_new_content_stay(short_parts, tmp_path, change):
    """Cuts go by content, not by count: the sequence falls into step again at the next cut."""
    first = write(tmp_path, "a", map(content, range(60)))
    second = write(tmp_path, "b", map(content, change(list(range(60)))))
    digests = [set(file_digests(folder).values()) for folder in (first, second)]
    assert len(digests[0] - digests[1]) <= 2


def test_what_was_there_before_makes_no_difference(short_parts, tmp_path):
    """A dataset that takes parts over has the bytes of one that is written from nothing."""
    write(tmp_path / "one", "a", map(content, range(0, 60)))
    taken = write(tmp_path / "one", "b", map(content, range(20, 80)))
    alone = write(tmp_path / "two", "b", map(content, range(20, 80)))
    assert file_digests(taken) == file_digests(alone)
    assert read_index(taken) == read_index(alone)


def test_a_part_that_is_gone_or_an_index_that_is_damaged_costs_time_only(short_parts, tmp_path):
    """Earlier datasets may be deleted at any moment."""
    first = write(tmp_path, "a", map(content, range(30)))
    for path in parts(first).values():
        path.unlink()
    second = write(tmp_path, "b", map(content, range(30)))
    (first / "index.json").write_text("{")
    third = write(tmp_path, "c", map(content, range(30)))
    assert file_digests(second) == file_digests(third)


def test_large_contents_make_short_parts(monkeypatch, tmp_path):
    """Bytes end a part too: what waits in memory is bounded."""
    monkeypatch.setattr(media_parts, "BYTES_PER_PART", 27)
    folder = write(tmp_path, "a", map(content, range(12)))
    assert {pq.read_metadata(path).num_rows for path in parts(folder).values()} == {3}


def test_a_content_that_changed_or_went_away_says_so(tmp_path):
    """Its row was settled by what the file held a moment ago: the ingest must begin again."""
    changed = UnreadContent(content(1).content_id, Modality.IMAGE, 9, partial(bytes, b"other"))
    with pytest.raises(DatasetError, match=r"changed while it was ingested.*ingest again"):
        write(tmp_path, "a", [changed])
    assert not (tmp_path / "dataset" / "a").exists()


@pytest.mark.parametrize("damage", [lambda data: data[:50], lambda data: data[:99] + b"?" + data[100:]])
def test_a_damaged_part_is_written_anew(short_parts, tmp_path, damage):
    """What an earlier dataset has lost, the next one does not inherit."""
    first = write(tmp_path, "a", map(content, range(30)))
    alone = file_digests(first)
    for path in parts(first).values():
        path.write_bytes(damage(path.read_bytes()))
    second = write(tmp_path, "b", map(content, range(30)))
    assert file_digests(second) == alone != file_digests(first)


@pytest.mark.parametrize("index", ["[]", '{"media_parts": 7}', '{"media_parts": {"a": "b"}, "files": {}}'])
def test_an_odd_index_shares_nothing(tmp_path, index):
    """Whatever lies in another dataset's folder, this one is written."""
    write(tmp_path, "a", [content(1)])
    (tmp_path / "dataset" / "a" / "index.json").write_text(index)
    assert len(parts(write(tmp_path, "b", [content(1)]))) == 1


def test_a_part_that_is_as_it_was_written_is_shared_unread(short_parts, tmp_path, monkeypatch):
    """Its stat says so; one that only looks so is hashed, and what it lost is written anew."""
    first = write(tmp_path, "a", map(content, range(30)))
    changed = parts(first)["media-00001.parquet"]
    changed.write_bytes(changed.read_bytes()[::-1])
    hashed = []
    monkeypatch.setattr(media_parts, "file_digest", lambda path: hashed.append(path.name) or file_digest(path))
    second = write(tmp_path, "b", map(content, range(30)), is_as_written=lambda path: path.name != changed.name)
    assert hashed == [changed.name]
    assert file_digests(second) == read_index(second)["files"] == read_index(first)["files"]
