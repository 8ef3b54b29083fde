from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multimodal.errors import ConfigError, MediaError, SourceError
from multimodal.ingest import parquet_records
from multimodal.ingest.options import CheckOptions, SourceOptions
from multimodal.ingest.parquet import HuggingFaceReader, ParquetReader
from multimodal.ingest.readers import open_reader
from multimodal.ingest.reasons import Reason
from multimodal.ingest.refs import read_ref

MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def table(tmp_path):
    """`table(columns, name="m.parquet", group=2, ...)`: the path of a Parquet file of so many rows a group."""

    def write(columns, name="m.parquet", group=2, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path, row_group_size=group, **options)
        return path

    return write


def reader_of(path, task="caption", **options):
    return open_reader(SourceOptions(name="s", path=path, task=task, **options))


def rows_of(path, task="caption", **options):
    return list(reader_of(path, task, **options).rows())


def test_a_manifest_is_a_table_of_paths(table):
    """Rows are placed by row group and row; further columns of plain types are attributes."""
    path = table(
        {"path": ["a.jpg", "b.jpg", "c.jpg"], "text": ["one", "two", None], "n": [1, 2, 3], "blob": [b"x"] * 3}
    )
    rows = rows_of(path)
    assert [row.uri for row in rows] == ["m.parquet#0.0", "m.parquet#0.1", "m.parquet#1.0"]
    assert rows[1].values == {"path": "b.jpg", "text": "two"}
    assert rows[1].attributes == {"n": 2}
    assert reader_of(path).media_path(rows[1]) == path.parent / "b.jpg"
    assert "text" not in rows[2].values


def test_bytes_in_a_column_are_read_cell_by_cell(table, picture):
    """Binary columns and structs of bytes and path; the cell gives the picture's bytes again."""
    data = [picture(n) for n in range(5)]
    media = pa.array([{"bytes": one, "path": f"{n}.jpg"} for n, one in enumerate(data)], MEDIA)
    for column, options in ((media, {}), (pa.array(data, pa.large_binary()), {})):
        path = table({"image": column, "text": list("abcde")})
        rows = rows_of(path, columns={"path": "image"}, **options)
        assert [read_ref(row.media, CheckOptions()) for row in rows] == data
        assert "image" not in rows[0].attributes
    with pytest.raises(MediaError, match="too_large"):
        read_ref(rows[0].media, CheckOptions(max_file_bytes=10))


def test_null_bytes_mean_the_file_at_the_path(table, picture, tmp_path):
    """The path is relative to the media root; one that leads out of it is never followed."""
    (tmp_path / "a.jpg").write_bytes(picture())
    (tmp_path / "secret").write_bytes(picture(1))
    values = [
        {"bytes": None, "path": name} for name in ("a.jpg", "no.jpg", "../secret", str(tmp_path / "secret"), None)
    ]
    path = table({"image": pa.array(values, MEDIA), "text": list("abcde")}, "x/m.parquet")
    first, *others = rows_of(path, columns={"path": "image"}, media_root=tmp_path)
    assert read_ref(first.media, CheckOptions()) == picture()
    for row in others:
        with pytest.raises(MediaError) as caught:
            read_ref(row.media, CheckOptions())
        assert caught.value.reason == Reason.MISSING_FILE


def test_a_hugging_face_folder_needs_no_words(table, sound, tmp_path):
    """Media and text columns are found; the split is in the file's name; the URI names file, row group and row."""
    clip = pa.array([{"bytes": sound(), "path": None}], MEDIA)
    for name in ("train-00000-of-00001", "validation-00000-of-00001", "test-00000-of-00001"):
        table({"id": [7], "audio": clip, "transcription": [name]}, f"data/{name}.parquet")
    reader = reader_of(tmp_path, "transcribe")
    assert isinstance(reader, HuggingFaceReader)
    rows = list(reader.rows())
    assert [row.values["split"] for row in rows] == ["test", "train", "validation"]
    assert rows[0].uri == "data/test-00000-of-00001.parquet#0.0"
    assert rows[0].values["text"] == "test-00000-of-00001" and rows[0].attributes == {"id": 7}
    assert read_ref(rows[0].media, CheckOptions()) == sound()


def test_a_list_of_captions_is_a_row_each(table, picture):
    """Flickr30k on the hub has five captions in one cell."""
    path = table({"image": [picture()] * 2, "caption": [["one", "two"], []]})
    rows = rows_of(path, columns={"path": "image", "text": "caption"})
    assert [(row.uri, row.values.get("text")) for row in rows] == [
        ("m.parquet#0.0/1", "one"),
        ("m.parquet#0.0/2", "two"),
        ("m.parquet#0.1", None),
    ]
    assert rows[0].media == rows[1].media


def test_a_damaged_row_group_costs_its_own_rows(table):
    """As many bad rows as the footer states; the other row groups are read."""
    path = table({"text": [f"a text of some length, number {n}" for n in range(9)]}, group=3)
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(1).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))
    found = [row.problem for row in rows_of(path, "infill")]
    assert found == [None] * 3 + [Reason.INVALID_ARCHIVE] * 3 + [None] * 3


def test_text_that_is_no_utf8_spoils_its_own_row(table):
    """Parquet does not check its strings."""
    text = pa.array([b"fine", b"caf\xe9", b"too"], pa.binary()).view(pa.string())
    assert [row.problem for row in rows_of(table({"text": text}), "infill")] == [None, Reason.INVALID_UTF8, None]


def test_a_file_that_cannot_be_read_is_one_row(table, tmp_path):
    """So is one without the columns; a folder of none but such files is refused."""
    (tmp_path / "b.parquet").write_bytes(b"PAR1" * 10)
    with pytest.raises(SourceError, match="no Parquet that can be read"):
        rows_of(tmp_path, "infill")
    table({"text": ["x"]}, "a.parquet"), table({"other": ["x"]}, "c.parquet")
    rows = rows_of(tmp_path, "infill")
    assert [row.problem for row in rows] == [None, Reason.INVALID_ARCHIVE, Reason.INVALID_ARCHIVE]
    assert "no column 'text'" in rows[2].detail


def test_missing_columns_are_named(table):
    """As in any manifest."""
    with pytest.raises(ConfigError, match=r"no column 'path' for path; its columns: image, text"):
        rows_of(table({"image": [b"x"], "text": ["x"]}))
    assert type(reader_of(table({"input": ["a"], "text": ["b"]}), "denoise")) is ParquetReader


@pytest.mark.parametrize("name", ["/etc/passwd", " /etc/passwd", "../secret.jpg", "file:///etc/passwd", "s3://b/c.jpg"])
def test_a_downloaded_table_names_nothing_outside(table, sound, name):
    """Neither as the media nor as the picture beside it; a table of paths that is a manifest names what it likes."""
    clip = pa.array([{"bytes": sound(), "path": "/home/them/1.wav"}], MEDIA)
    with_bytes = table({"audio": clip, "text": ["hi"], "picture": [name]}, "a/m.parquet")
    with_path = table({"path": [name], "text": ["hi"]}, "b/m.parquet")
    assert [row.problem for row in rows_of(with_bytes.parent, "transcribe")] == [Reason.UNSAFE_NAME]
    assert [row.problem for row in rows_of(with_bytes, "transcribe", columns={"path": "audio"})] == [Reason.UNSAFE_NAME]
    assert [row.problem for row in rows_of(with_path.parent)] == [Reason.UNSAFE_NAME]
    assert [row.problem for row in rows_of(with_path)] == [None]


def texts_of(path, size, monkeypatch, task="caption"):
    """The texts' lengths, None where a row was refused, and the most that Arrow held, with small limits."""
    monkeypatch.setattr(parquet_records, "MOST_BATCH_BYTES", 1 << 20)
    monkeypatch.setattr(parquet_records, "MOST_ROW_BYTES", size)
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        rows = rows_of(path, task)
    finally:
        pa.set_memory_pool(before)
    return [len(row.values["text"]) if row.problem is None else row.problem for row in rows], pool.max_memory()


@pytest.mark.parametrize("form", ["text", "list", "large"])
def test_a_text_that_stands_once_and_is_meant_often_is_not_copied(table, monkeypatch, form):
    """A file of a few KB whose 500 rows mean one text of 100 KB: 50 MB, of which one row at a time is held."""
    text = "x" * 100_000
    values = ["short", "other", *[text] * 500]
    column = {
        "list": lambda: pa.array([[value] for value in values]),
        "large": lambda: pa.array(values, pa.large_string()),
    }.get(form, lambda: pa.array(values).dictionary_encode())()
    path = table({"path": ["a.jpg"] * len(values), "text": column}, group=len(values))
    assert path.stat().st_size < 100_000
    found, peak = texts_of(path, 200_000, monkeypatch)
    assert found == [5, 5, *[100_000] * 500]
    assert peak < 20 << 20
    found, peak = texts_of(path, 50_000, monkeypatch)
    assert found == [5, 5, *[Reason.TEXT_TOO_LONG] * 500]
    assert peak < 20 << 20


@pytest.mark.parametrize("column", ["text", "more"])
def test_a_page_that_swells_is_not_unpacked(table, column):
    """A file of a few KB with a page of 40 MB, of the text or of a column beside it: its rows are refused."""
    wide = ["x" * (40 << 20)] * 2
    columns = {"text": ["a dog"] * len(wide), column: wide}
    path = table(columns, "bomb.parquet", compression="zstd")
    del columns, wide
    assert path.stat().st_size < 20_000
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool := pa.proxy_memory_pool(before))
    try:
        rows = rows_of(path, "infill", limit=2)
    finally:
        pa.set_memory_pool(before)
    assert [row.problem for row in rows] == [Reason.TOO_LARGE] * 2
    assert "unpacks to" in rows[0].detail and rows[0].uri == "bomb.parquet#0.0"
    assert pool.max_memory() < 8 << 20


def test_a_date_in_no_calendar_spoils_its_own_row(table):
    """Python's dates end in the year 9999, Parquet's do not; nanoseconds are more than Python's times have."""
    days = pa.array([1, 10**9, 2], pa.int32()).cast(pa.date32())
    path = table({"path": ["a.jpg"] * 3, "text": ["x", "y", "z"], "group": days}, group=3)
    assert [row.problem for row in rows_of(path)] == [None, Reason.INVALID_ROW, None]
    times = pa.array([1, 10**18 + 1, 2], pa.timestamp("ns"))
    path = table({"path": ["a.jpg"] * 3, "text": ["x", "y", "z"], "group": times}, group=3)
    assert len(rows_of(path)) == 3


def test_texts_of_other_types_are_text_or_refused(table):
    """Bytes are UTF-8 or not; maps, structs and numbers that are none are no text; other numbers stay what they are."""
    forms = {
        "bytes": (pa.array([b"caf\xc3\xa9", b"caf\xe9"]), ["café", Reason.INVALID_UTF8]),
        "large": (pa.array([b"a dog", None], pa.large_binary()), ["a dog", ""]),
        "map": (pa.array([[("k", "v")], []], pa.map_(pa.string(), pa.string())), [Reason.INVALID_ROW, ""]),
        "struct": (pa.array([{"a": "x"}, None]), [Reason.INVALID_ROW, ""]),
        "numbers": (pa.array([1.5, float("nan")]), ["1.5", Reason.INVALID_ROW]),
        "truths": (pa.array([True, False]), ["True", "False"]),
        "lists": (pa.array([[b"a dog"], [b"\xff"]]), ["a dog", Reason.INVALID_UTF8]),
    }
    for name, (column, expected) in forms.items():
        rows = rows_of(table({"path": ["a.jpg"] * 2, "text": column}, f"{name}.parquet"))
        assert [row.problem or row.values.get("text", "") for row in rows] == expected, name


def test_a_column_of_media_may_have_a_dot_in_its_name(table, picture):
    """As the tables made of WebDataset shards have; its bytes are no path."""
    (row,) = rows_of(table({"img.jpg": [picture()], "text": ["x"]}), columns={"path": "img.jpg"})
    assert row.problem is None and "path" not in row.values
    assert read_ref(row.media, CheckOptions()) == picture()
