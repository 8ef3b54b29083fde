from __future__ import annotations

import json
import os
import tracemalloc
from typing import get_args

import pytest

from multimodal.config import load_options
from multimodal.errors import ConfigError, SourceError
from multimodal.ingest import source_kinds
from multimodal.ingest.folders import FolderReader
from multimodal.ingest.manifests import CsvReader, JsonlReader, TsvReader
from multimodal.ingest.options import IngestOptions, Kind, SourceOptions
from multimodal.ingest.reader import Row
from multimodal.ingest.readers import READERS, open_reader
from multimodal.ingest.reasons import Reason
from multimodal.ingest.sidecars import Sidecars
from multimodal.ingest.texts import TextReader


def rows_of(path, task="caption", **options):
    return list(open_reader(SourceOptions(name="s", path=path, task=task, **options)).rows())


def test_csv_is_quoted_as_usual(manifest):
    """Commas, quotation marks and line breaks inside quotes belong to the field."""
    path = manifest("m.csv", [["path", "text"], ["a.jpg", 'a "red", big\nball']])
    assert rows_of(path)[0].values == {"path": "a.jpg", "text": 'a "red", big\nball'}


def test_an_unclosed_quote_swallows_no_row(tmp_path):
    """Each line behind it is a row of its own that cannot be read."""
    path = tmp_path / "m.csv"
    path.write_text('path,text\na.jpg,one\nb.jpg,"two\nc.jpg,three\nd.jpg,four\n')
    rows = rows_of(path)
    assert len(rows) == 4 and rows[0].values["text"] == "one"
    assert not any(row.values for row in rows[1:])


def test_a_quotation_mark_in_tsv_is_only_a_character(manifest):
    """A lone quotation mark at the start of a field swallows nothing."""
    path = manifest("m.tsv", [["path", "text"], ["a.jpg", '"So it begins'], ["b.jpg", "next"]])
    assert [row.values["text"] for row in rows_of(path)] == ['"So it begins', "next"]


def test_jsonl_keeps_further_values_as_they_are(tmp_path):
    """Standard values become text; attributes keep their JSON types; blank lines are no rows."""
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"path": "a.jpg", "text": 7, "scene": {"n": 2}}) + "\n\n")
    (row,) = rows_of(path)
    assert row.values == {"path": "a.jpg", "text": "7"}
    assert row.attributes == {"scene": {"n": 2}}
    assert row.uri == "m.jsonl#1"


@pytest.mark.parametrize(
    ("header", "reader"),
    [("image,caption", CsvReader), ("path\ttext", TsvReader), ('{"path": "a", "text": "b"}', JsonlReader)],
)
def test_a_txt_manifest_is_recognised_by_its_first_line(tmp_path, header, reader):
    """Flickr8k's captions.txt is a CSV file in all but its name."""
    path = tmp_path / "captions.txt"
    path.write_text(header + "\n")
    columns = {"path": "image", "text": "caption"} if reader is CsvReader else {}
    found = open_reader(SourceOptions(name="s", path=path, task="caption", columns=columns))
    assert type(found) is reader


def test_columns_are_mapped_and_the_rest_are_attributes(manifest):
    """A mapped column serves under its standard name only."""
    path = manifest("m.csv", [["image", "caption", "text", "album"], ["a.jpg", "a dog", "other", "7"]])
    (row,) = rows_of(path, columns={"path": "image", "text": "caption"})
    assert row.values == {"path": "a.jpg", "text": "a dog"}
    assert row.attributes == {"text": "other", "album": "7"}


def test_a_missing_column_is_refused_with_those_found(manifest):
    """The message names the column, what it is for, the columns there are, and the nearest one."""
    path = manifest("m.csv", [["image", "caption"], ["a.jpg", "a dog"]])
    with pytest.raises(ConfigError, match=r"no column 'capton' for text; its columns: image, caption; .*'caption'"):
        rows_of(path, columns={"path": "image", "text": "capton"})
    with pytest.raises(ConfigError, match=r"no column 'path'.*image, caption.*columns: \{path:"):
        rows_of(path)


@pytest.mark.parametrize(("task", "column"), [("denoise", "input"), ("restyle", "style"), ("transcribe", "path")])
def test_each_task_names_the_column_that_it_needs(manifest, task, column):
    """A denoise source needs its noisy input, a restyle source a style, and so on."""
    columns = [name for name in ("path", "text", "input", "style") if name != column]
    path = manifest("m.csv", [columns, ["x"] * len(columns)])
    with pytest.raises(ConfigError, match=f"no column '{column}'"):
        rows_of(path, task)


def test_a_source_that_is_not_there_is_refused(tmp_path, manifest):
    """Manifest, media root and split lists are all looked for before any work."""
    path = manifest("m.csv", [["path", "text"]])
    for options in (
        {"path": tmp_path / "no.csv"},
        {"path": path, "media_root": tmp_path / "no"},
        {"path": path, "split_files": {"train": tmp_path / "no.txt"}},
    ):
        with pytest.raises(SourceError, match=r"nothing at .*no"):
            open_reader(SourceOptions(name="s", task="caption", **options))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "", "is empty"),
        ("m.csv", "path,text,text\n", "twice"),
        ("m.jsonl", "\n[1]\n", "no JSON object"),
        ("m.parquet", "PAR1", "no Parquet that can be read"),
        ("m.bin", "x", "of no known kind; the kinds are csv, tsv, .* folder"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, name, content, message):
    """An empty file, a doubled column, and a file of an unknown kind are refused before any work."""
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=message):
        rows_of(tmp_path / name)


def test_bad_records_are_rows_with_a_problem(tmp_path):
    """Too few fields, too many, and broken bytes each spoil their own row only."""
    path = tmp_path / "m.csv"
    path.write_bytes(b"path,text\na.jpg\nb.jpg,x,y\nc.jpg,caf\xe9\nd.jpg,fine\n")
    found = [(row.problem, row.uri) for row in rows_of(path)]
    assert found == [
        (Reason.INVALID_ROW, "m.csv#1"),
        (Reason.INVALID_ROW, "m.csv#2"),
        (Reason.INVALID_UTF8, "m.csv#3"),
        (None, "m.csv#4"),
    ]


def test_an_endless_field_spoils_one_row(tmp_path):
    """A field beyond the parser's limit is a bad row; the rows after it are read."""
    path = tmp_path / "m.csv"
    path.write_text("path,text\na.jpg," + "x" * 200_000 + "\nb.jpg,fine\n")
    assert [row.problem for row in rows_of(path)] == [Reason.INVALID_ROW, None]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1, 2]",
        '{"path": "a", "text": 1e999}',
        '{"path": "a", "text": "b", "n": NaN}',
        '{"path": "a", "text": ["b"]}',
        "[" * 100_000,
    ],
)
def test_bad_json_is_a_bad_row(tmp_path, line):
    """Broken JSON, JSON that is no object, lists for texts, and endless nesting spoil their own row only."""
    path = tmp_path / "m.jsonl"
    path.write_text('{"path": "a", "text": "b"}\n' + line + "\n")
    assert [row.problem for row in rows_of(path)] == [None, Reason.INVALID_ROW]


def test_lone_surrogates_are_invalid(tmp_path):
    r"""JSON may escape half a character (\ud800): no text can hold it."""
    path = tmp_path / "m.jsonl"
    path.write_text('{"path": "a", "text": "\\ud800"}\n')
    assert [row.problem for row in rows_of(path)] == [Reason.INVALID_UTF8]


def test_a_folder_gives_a_row_per_line_of_a_sidecar(tmp_path, picture):
    """Media at any depth, in order; a sidecar line is a caption; what lacks its partner is a bad row."""
    for name in ("b/2.jpg", "a/1.jpg", "c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture())
    (tmp_path / "a/1.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b/2.txt").write_text("three")
    (tmp_path / "lost.txt").write_text("no picture")
    reader = open_reader(SourceOptions(name="s", path=tmp_path, task="caption"))
    assert isinstance(reader, FolderReader)
    found = [(row.uri, row.values.get("text"), row.problem) for row in reader.rows()]
    assert found == [
        ("a/1.jpg#1", "one", None),
        ("a/1.jpg#2", "two", None),
        ("b/2.jpg", "three", None),
        ("c.jpg", None, Reason.EMPTY_TEXT),
        ("lost.txt", None, Reason.MISSING_FILE),
    ]


def test_a_folder_cannot_serve_text(tmp_path):
    """A denoise source needs pairs, which only a manifest gives."""
    with pytest.raises(ConfigError, match="needs a manifest"):
        rows_of(tmp_path, "denoise")


def test_an_empty_folder_is_refused(tmp_path):
    """A folder without media is a wrong path more often than a small dataset."""
    with pytest.raises(SourceError, match="no media"):
        rows_of(tmp_path)


def test_limit_reads_the_first_rows(manifest):
    """`limit` is for trials: the first rows and no more."""
    path = manifest("m.csv", [["path", "text"], *[[f"{n}.jpg", "x"] for n in range(9)]])
    assert [row.values["path"] for row in rows_of(path, limit=2)] == ["0.jpg", "1.jpg"]


def test_a_json_sidecar_gives_columns_and_texts(tmp_path, picture):
    """One text or a list; further keys are attributes; the lines of a .txt beside it go before its texts."""
    for name in "abcd":
        (tmp_path / f"{name}.jpg").write_bytes(picture())
    (tmp_path / "a.json").write_text(json.dumps({"text": ["one", "two"], "speaker": "eve", "n": 3}))
    (tmp_path / "b.json").write_text(json.dumps({"text": "no", "style": "plain"}))
    (tmp_path / "b.txt").write_text("three\n")
    (tmp_path / "c.json").write_text("{")
    (tmp_path / "d.json").write_text(json.dumps({"caption": {"x": 1}, "text": "four"}))
    (tmp_path / "lost.json").write_text("{}")
    rows = rows_of(tmp_path)
    assert [row.uri for row in rows] == ["a.jpg#1", "a.jpg#2", "b.jpg", "c.jpg", "d.jpg", "lost.json"]
    assert rows[1].values == {"path": "a.jpg", "text": "two", "speaker": "eve"} and rows[1].attributes == {"n": 3}
    assert rows[2].values == {"path": "b.jpg", "text": "three", "style": "plain"}
    assert [row.problem for row in rows[3:]] == [Reason.INVALID_ROW, None, Reason.MISSING_FILE]
    assert rows_of(tmp_path, columns={"text": "caption"})[-2].problem == Reason.INVALID_ROW


def test_a_pipe_for_a_sidecar_is_not_waited_for(tmp_path, picture):
    """Opening it would wait for a writer for ever."""
    (tmp_path / "a.jpg").write_bytes(picture())
    os.mkfifo(tmp_path / "a.txt")
    assert [row.problem for row in rows_of(tmp_path)] == [Reason.EMPTY_TEXT]


def test_plain_text_is_a_text_a_line(tmp_path):
    """For infill only; blank lines are no rows but count as lines; broken bytes spoil their own line."""
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbfIt began.\n\ncaf\xe9\nIt ended, so it did.\n")
    reader = open_reader(SourceOptions(name="s", path=path, task="infill"))
    assert isinstance(reader, TextReader)
    found = [(row.uri, row.values.get("text"), row.problem) for row in reader.rows()]
    assert found == [
        ("book.txt#1", "It began.", None),
        ("book.txt#3", None, Reason.INVALID_UTF8),
        ("book.txt#4", "It ended, so it did.", None),
    ]
    with pytest.raises(ConfigError, match="serves infill; task denoise needs a manifest"):
        rows_of(path, "denoise")


def test_kind_overrules_what_a_source_looks_like(tmp_path):
    """A first line with a comma looks like CSV; the kinds that can be named are those that have a reader."""
    path = tmp_path / "book.txt"
    path.write_text("Yes, it began.\n")
    assert [row.values["text"] for row in rows_of(path, "infill", kind="text")] == ["Yes, it began."]
    with pytest.raises(ConfigError, match="no column 'text'"):
        rows_of(path, "infill")
    assert set(READERS) == set(get_args(Kind))


def test_how_sources_are_read_can_be_told(tmp_path, manifest):
    """By name: the kind, and whether it was recognised or given."""
    path = manifest("m.txt", [["text"], ["x"]])
    sources = [
        {"name": "a", "path": path, "task": "infill"},
        {"name": "b", "path": path, "task": "infill", "kind": "csv"},
    ]
    assert source_kinds(IngestOptions(sources=sources)) == {"a": "text (recognised)", "b": "csv"}


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.jpg", "file:///etc/passwd"])
def test_a_sidecar_names_no_picture_outside(tmp_path, sound, name):
    """A folder of media is as often downloaded as made; a manifest that somebody writes may name any file."""
    (tmp_path / "a.wav").write_bytes(sound())
    (tmp_path / "a.json").write_text(json.dumps({"text": "hi", "picture": name}))
    assert [row.problem for row in rows_of(tmp_path, "transcribe")] == [Reason.UNSAFE_NAME]
    (tmp_path / "m.jsonl").write_text(json.dumps({"path": "a.wav", "text": "hi", "picture": name}))
    assert [row.problem for row in rows_of(tmp_path / "m.jsonl", "transcribe")] == [None]


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv", "m.tsv", "book.txt"])
def test_an_endless_line_spoils_its_own_row_in_little_memory(tmp_path, name, monkeypatch):
    """A sparse file of 64 MiB is one line: no more than a bounded part of it is held, and what follows is read."""
    good = {"m.jsonl": b'{"text": "fine"}\n'}.get(name, b"fine\n")
    header = b"text\n" if name in ("m.csv", "m.tsv") else b""
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(header + good)
        file.truncate(64 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + good)
    reader = open_reader(SourceOptions(name="s", path=path, task="infill"))
    tracemalloc.start()
    rows = list(reader.rows())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row.values.get("text") for row in rows] == ["fine", None, "fine"] and rows[1].problem is not None
    assert peak < 40 << 20


@pytest.mark.parametrize("suffix", [".txt", ".json"])
def test_an_endless_sidecar_is_not_read_whole(tmp_path, picture, suffix):
    """The limit is that of a sidecar in an archive."""
    (tmp_path / "a.jpg").write_bytes(picture())
    with (tmp_path / f"a{suffix}").open("wb") as file:
        file.truncate(64 << 20)
    (tmp_path / "b.jpg").write_bytes(picture())
    (tmp_path / "b.txt").write_text("fine")
    tracemalloc.start()
    assert [row.problem for row in rows_of(tmp_path)] == [Reason.TEXT_TOO_LONG, None]
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_sidecar_that_cannot_be_read_spoils_its_own_row(tmp_path, picture):
    """/proc/self/mem is a plain file whose first bytes give an error."""
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(picture())
    (tmp_path / "a.txt").symlink_to("/proc/self/mem")
    (tmp_path / "b.txt").write_text("fine")
    assert [row.problem for row in rows_of(tmp_path)] == [Reason.MISSING_FILE, None]


@pytest.mark.parametrize(
    "wrong", [{"style": "x\\ud800"}, {"columns": {"text": "\\udfff"}}, {"split_values": {"\\ud800": "val"}}]
)
def test_half_a_character_in_an_option_is_refused(tmp_path, manifest, wrong):
    """YAML can escape it, nothing behind can write it down."""
    source = {"name": "s", "path": str(manifest("m.csv", [["text"], ["x"]])), "task": "infill"} | wrong
    conf = tmp_path / "c.yaml"
    conf.write_text(json.dumps({"sources": [source]}).replace("\\\\u", "\\u"))
    with pytest.raises(ConfigError, match="half a character") as caught:
        load_options(IngestOptions, conf)
    assert str(caught.value).encode()


def test_a_number_that_is_none_spoils_the_row_of_its_sidecar(tmp_path, picture):
    """JSON knows neither NaN nor infinity, and who reads the attributes again would stumble."""
    for name, number in (("a", "1e999"), ("b", "-Infinity"), ("c", "1.5")):
        (tmp_path / f"{name}.jpg").write_bytes(picture())
        (tmp_path / f"{name}.json").write_text(f'{{"text": "x", "n": {number}}}')
    assert [row.problem for row in rows_of(tmp_path)] == [Reason.INVALID_ROW, Reason.INVALID_ROW, None]


def test_a_name_in_two_lists_of_splits_is_refused(tmp_path, manifest):
    """Which of them would win, nobody has said; twice in one list is once."""
    path = manifest("m.csv", [["path", "text"], ["a.jpg", "x"]])
    lists = {"train": tmp_path / "train", "test": tmp_path / "test"}
    lists["train"].write_text("b.jpg\na.jpg\na.jpg\n")
    lists["test"].write_text("c.jpg\n")
    assert len(rows_of(path, split_files=lists)) == 1
    lists["test"].write_text("c.jpg\na.jpg\n")
    with pytest.raises(SourceError, match=r"'a\.jpg' stands in the lists of train and of test"):
        rows_of(path, split_files=lists)


def test_sidecars_in_capitals_are_sidecars(tmp_path, picture):
    """`a.TXT` is no media of its own; where both are there, the usual one is read."""
    for name in ("a.JPG", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(picture())
    (tmp_path / "a.TXT").write_text("one")
    (tmp_path / "b.Json").write_text('{"text": "two"}')
    (tmp_path / "c.TXT").write_text("no")
    (tmp_path / "c.txt").write_text("three")
    (tmp_path / "lost.TXT").write_text("no picture")
    rows = rows_of(tmp_path)
    assert [(row.uri, row.values.get("text"), row.problem) for row in rows] == [
        ("a.JPG", "one", None),
        ("b.jpg", "two", None),
        ("c.jpg", "three", None),
        ("lost.TXT", None, Reason.MISSING_FILE),
    ]


@pytest.mark.parametrize(("name", "first"), [("a.jsonl", '{"text": "one"}'), ("a.txt", "one two")])
def test_a_line_that_is_too_long_has_that_reason(tmp_path, name, first):
    """No more of it than the bound is held; it is not taken for damaged JSON, nor for a text."""
    (tmp_path / name).write_text(f"{first}\n{'y' * (9 << 20)}\n{first}\n")
    rows = list(open_reader(SourceOptions(name="s", path=tmp_path / name, task="infill")).rows())
    assert [row.problem for row in rows] == [None, Reason.TEXT_TOO_LONG, None]


@pytest.mark.parametrize("value", [{"a": 1}, ["x"]])
def test_a_sidecars_value_that_is_no_text_is_refused(value):
    """A style that is an object would be written as Python shows it."""
    sidecars = Sidecars(json=json.dumps({"text": "one", "style": value}).encode())
    (row,) = sidecars.rows(Row("a.png", {"path": "a.png"}), {})
    assert row.problem == Reason.INVALID_ROW and "style is a JSON" in row.detail
