from __future__ import annotations

import json
import pickle
import tarfile

import pytest

from multimodal.errors import MediaError, SourceError
from multimodal.ingest.options import CheckOptions, SourceOptions
from multimodal.ingest.readers import open_reader
from multimodal.ingest.reasons import Reason
from multimodal.ingest.refs import read_ref
from multimodal.ingest.webdataset import WebDatasetReader


@pytest.fixture
def shard(tmp_path, tar):
    """`shard(members, name="000.tar")`: the path of a shard."""

    def write(members, name="000.tar", **how):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(tar(members, **how))
        return path

    return write


def rows_of(path, task="caption", **options):
    return list(open_reader(SourceOptions(name="s", path=path, task=task, **options)).rows())


def link(name, kind=tarfile.SYMTYPE, target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_members_of_one_key_are_one_pair(shard, picture):
    """A picture, its caption and its JSON; the row's uri is the place of the bytes in the shard."""
    data = picture()
    facts = json.dumps({"speaker": "eve", "url": "x"}).encode()
    path = shard(
        [("a/1.jpg", data), ("a/1.json", facts), ("a/1.txt", b"a dog\n"), ("a/2.txt", b"x"), ("a/2.png", data)]
    )
    first, second = rows_of(path)
    assert first.values == {"path": "a/1.jpg", "text": "a dog", "speaker": "eve"}
    assert first.attributes == {"key": "a/1", "url": "x"}
    assert first.uri == f"000.tar#{first.media.offset}"
    assert path.read_bytes()[first.media.offset :][: len(data)] == data == read_ref(first.media, CheckOptions())
    assert (second.values["path"], second.values["text"]) == ("a/2.png", "x")


def test_a_line_is_a_caption_and_so_is_an_entry_of_a_list(shard, picture):
    """Five captions of a picture are five rows of one place."""
    texts = json.dumps({"captions": ["three", "four"]}).encode()
    path = shard([("1.jpg", picture()), ("1.txt", b"one\n\ntwo\n"), ("2.jpg", picture()), ("2.json", texts)])
    rows = rows_of(path, columns={"text": "captions"})
    assert [row.values["text"] for row in rows] == ["one", "two", "three", "four"]
    assert [row.uri.split("#")[2] for row in rows] == ["1", "2", "1", "2"]


def test_names_that_lead_elsewhere_links_and_devices_are_refused(shard, picture, tmp_path):
    """None is followed or written anywhere; each is a row with its reason, and the rows behind are read."""
    members = [
        ("/etc/1.jpg", picture()),
        ("../2.jpg", picture()),
        ("a/../../3.jpg", picture()),
        ("C:\\4.jpg", picture()),
    ]
    members += [link("5.jpg"), link("6.jpg", tarfile.LNKTYPE, "7.jpg"), link("7.jpg", tarfile.CHRTYPE)]
    members += [link("8.jpg", tarfile.FIFOTYPE), ("9.jpg", picture()), ("9.txt", b"fine")]
    before = sorted(tmp_path.rglob("*"))
    rows = rows_of(shard(members))
    assert [row.problem for row in rows] == [Reason.UNSAFE_NAME] * 8 + [None]
    assert all(row.media is None for row in rows[:-1])
    assert "/etc/passwd" in rows[4].detail
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "000.tar"])


class Bomb:
    def __reduce__(self):
        return (open, ("exploded", "w"))


def test_pickles_are_never_opened(shard, picture, tmp_path, monkeypatch):
    """A pickle beside a picture is passed over; alone it is a row without media."""
    monkeypatch.chdir(tmp_path)
    bomb = pickle.dumps(Bomb())
    members = [("1.jpg", picture()), ("1.pkl", bomb), ("1.txt", b"fine"), ("2.pyd", bomb), ("2.txt", b"x")]
    good, bad = rows_of(shard(members))
    assert good.problem is None and bad.problem == Reason.MISSING_FILE and ".pyd" in bad.detail
    assert not (tmp_path / "exploded").exists()


def test_what_lacks_its_partner_has_its_reason(shard, picture):
    """No text, no picture, a doubled member, broken JSON and bytes that are no UTF-8 spoil their own row only."""
    members = [("1.jpg", picture()), ("2.txt", b"x"), ("3.jpg", picture()), ("3.jpg", picture()), ("3.txt", b"x")]
    members += [("4.jpg", picture()), ("4.json", b"{"), ("5.jpg", picture()), ("5.txt", b"caf\xe9")]
    members += [("6.jpg", picture()), ("6.json", b"[1]"), ("7.jpg", picture()), ("7.txt", b"x" * (2 << 20))]
    members += [("8.jpg", picture()), ("8.txt", b"\n")]
    expected = [Reason.EMPTY_TEXT, Reason.MISSING_FILE, Reason.INVALID_ROW, Reason.INVALID_ROW, Reason.INVALID_UTF8]
    expected += [Reason.INVALID_ROW, Reason.TEXT_TOO_LONG, None]
    assert [row.problem for row in rows_of(shard(members))] == expected


def test_a_chosen_extension_is_the_media(shard, picture):
    """Of two pictures the plain one serves, unless columns name the other."""
    path = shard([("1.mask.png", picture(1)), ("1.jpg", picture(2)), ("1.txt", b"x")])
    assert rows_of(path)[0].values["path"] == "1.jpg"
    assert rows_of(path, columns={"path": "mask.png"})[0].values["path"] == "1.mask.png"


def test_text_pairs_need_no_media(shard):
    """A restyle or denoise shard holds JSON alone."""
    path = shard([("1.json", json.dumps({"input": "helo", "text": "hello"}).encode())])
    (row,) = rows_of(path, "denoise")
    assert row.values == {"input": "helo", "text": "hello"}


def test_shards_are_read_in_order_and_name_their_split(shard, picture, tmp_path):
    """A folder of shards at any depth; val/ and train-000.tar are official splits."""
    members = [("1.jpg", picture()), ("1.txt", b"x")]
    shard(members, "val/000.tar"), shard(members, "train-001.tar"), shard(members, "train-000.tar")
    reader = open_reader(SourceOptions(name="s", path=tmp_path, task="caption"))
    assert isinstance(reader, WebDatasetReader)
    found = [(row.uri.split("#")[0], row.values["split"]) for row in reader.rows()]
    assert found == [("train-000.tar", "train"), ("train-001.tar", "train"), ("val/000.tar", "val")]


@pytest.mark.parametrize(
    ("blocks", "texts", "message"),
    [(5, "xyz", "unexpected end"), (4.2, "xy", "holds no header"), (4, "xy", "without its end mark")],
)
def test_a_cut_shard_says_where_it_ends(shard, blocks, texts, message):
    """Members before the cut are rows; one row more says that members may be lost, which tarfile passes over."""
    path = shard([(f"{text}.json", b'{"text": "x"}') for text in "xyz"], end=False)
    path.write_bytes(path.read_bytes()[: int(512 * blocks)])
    *rows, last = rows_of(path, "infill")
    assert len(rows) == len(texts)
    assert rows[0].values == {"text": "x"}
    assert last.problem == Reason.INVALID_ARCHIVE and message in last.detail


def test_damage_in_the_middle_does_not_end_a_shard_in_silence(shard):
    """A header of rubbish: the rows before it are kept, what is lost is noted."""
    path = shard([(f"{n}.json", b'{"text": "x"}') for n in range(4)])
    data = bytearray(path.read_bytes())
    data[2048:2560] = b"\xaa" * 512
    path.write_bytes(bytes(data))
    assert [row.problem for row in rows_of(path, "infill")] == [None, None, Reason.INVALID_ARCHIVE]


def test_a_header_of_negative_size_ends_the_shard(shard):
    """A size that leads back to the same header would be read for ever."""
    path = shard([("1.json", b'{"text": "x"}'), ("2.json", b'{"text": "y"}')])
    data = bytearray(path.read_bytes())
    header = data[1024:1536]
    header[124:136] = b"\xff" * 11 + b"\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[1024:1536] = header
    path.write_bytes(bytes(data))
    rows = rows_of(path, "infill")
    assert [row.problem for row in rows] == [None, Reason.INVALID_ARCHIVE]
    assert "size -" in rows[1].detail


def test_a_member_that_the_file_ends_within_is_typed(shard, picture):
    """The header states more bytes than follow: reading the last member says so."""
    path = shard([("1.txt", b"x"), ("1.jpg", picture())], end=False)
    path.write_bytes(path.read_bytes()[:-1024])
    row, damage = rows_of(path)
    assert damage.problem == Reason.INVALID_ARCHIVE
    with pytest.raises(MediaError, match="the archive ends") as caught:
        read_ref(row.media, CheckOptions())
    assert caught.value.reason == Reason.INVALID_ARCHIVE
    with pytest.raises(MediaError, match="too_large"):
        read_ref(row.media, CheckOptions(max_file_bytes=10))


@pytest.mark.parametrize("data", [b"", b"no archive" * 100])
def test_a_shard_that_is_none_is_one_row(shard, tmp_path, picture, data):
    """Other shards are read all the same."""
    (tmp_path / "a.tar").write_bytes(data)
    shard([("1.jpg", picture()), ("1.txt", b"x")], "b.tar")
    assert [row.problem for row in rows_of(tmp_path)] == [Reason.INVALID_ARCHIVE, None]


def test_a_compressed_shard_is_refused_with_the_cure(tmp_path):
    """A member of a compressed file cannot be read alone."""
    (tmp_path / "000.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(SourceError, match=r"gunzip 000\.tar\.gz"):
        rows_of(tmp_path)


OUTSIDE = (
    "/etc/passwd",
    " /etc/passwd",
    "../secret.jpg",
    "C:\\secret.jpg",
    "file:///etc/passwd",
    "http://x/secret.jpg",
)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_picture_that_a_json_names_outside_is_refused(shard, sound, name):
    """A shard names no file of the machine that reads it; a picture beside the shards is followed as before."""
    facts = [json.dumps({"text": "hi", "picture": one}).encode() for one in (name, "beside/a.jpg")]
    path = shard([("1.wav", sound()), ("1.json", facts[0]), ("2.wav", sound()), ("2.json", facts[1])])
    reader = open_reader(SourceOptions(name="s", path=path, task="transcribe"))
    bad, good = reader.rows()
    assert (bad.problem, reader.picture_path(bad)) == (Reason.UNSAFE_NAME, None)
    assert reader.picture_path(good) == path.parent / "beside/a.jpg"


def test_a_rows_own_split_goes_before_the_shards_name(shard, picture):
    """As in a table: the name speaks for the rows that say nothing themselves."""
    facts = [json.dumps({"text": "x", **split}).encode() for split in ({"split": "test"}, {}, {"split": None})]
    members = [
        (f"{n}.{end}", data) for n, one in enumerate(facts) for end, data in (("jpg", picture(n)), ("json", one))
    ]
    rows = rows_of(shard(members, "train-0.tar"))
    assert [row.values["split"] for row in rows] == ["test", "train", "train"]
    assert [row.values["path"] for row in rows] == ["0.jpg", "1.jpg", "2.jpg"]


def test_a_name_of_megabytes_ends_the_shard_unread(tmp_path):
    """tarfile would read a long name into memory, however long it says that it is."""
    path = tmp_path / "shard-000000.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("x" * (2 << 20) + ".txt"))
    (row,) = rows_of(path)
    assert row.problem is Reason.INVALID_ARCHIVE and len(row.uri) < 100
