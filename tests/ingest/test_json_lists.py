from __future__ import annotations

import json
import random
import time
import tracemalloc

import pytest

from multimodal.errors import SourceError
from multimodal.ingest import json_lists
from multimodal.ingest.json_lists import MOST_ENTRY_CHARS, JsonLists
from multimodal.ingest.manifests import Unreadable
from multimodal.ingest.options import SourceOptions
from multimodal.ingest.readers import open_reader

NAMES = ("images", "annotations")


@pytest.fixture
def lists_of(tmp_path):
    """`lists_of(bytes)`: the lists of a file, and all their entries as (name, number, value)."""

    def read(data):
        path = tmp_path / "some.json"
        path.write_bytes(data)
        lists = JsonLists(path, NAMES)
        return lists, [(entry.name, entry.number, entry.value) for entry in lists]

    return read


def reasons(entries):
    return [entry[2].reason if isinstance(entry[2], Unreadable) else None for entry in entries]


def _value(rng, depth=0):
    kind = rng.randrange(7)
    if kind == 0 and depth < 4:
        return {rng.choice(["a", 'b"', "c\\", "é"]): _value(rng, depth + 1) for _ in range(rng.randrange(4))}
    if kind == 1 and depth < 4:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 2:
        return rng.choice(
            [None, True, False, rng.randrange(-(10**6), 10**6), rng.random() * 10.0 ** rng.randrange(-5, 20)]
        )
    return "".join(rng.choice('ab"\\/ ]}[{,:\n\té😀') for _ in range(rng.randrange(12)))


@pytest.mark.parametrize("chars_per_read", [1, 2, 3, 7, 64, 1 << 18])
def test_entries_are_those_that_json_gives(lists_of, monkeypatch, chars_per_read):
    """Wherever the pieces that are read end: within names, numbers, escapes and strings full of brackets."""
    monkeypatch.setattr(json_lists, "CHARS_PER_READ", chars_per_read)
    rng = random.Random(chars_per_read)
    for _ in range(100):
        images, annotations = ([_value(rng) for _ in range(rng.randrange(8))] for _ in NAMES)
        whole = {"a": _value(rng), "images": images, "b": _value(rng), "annotations": annotations, "c": _value(rng)}
        text = json.dumps(whole, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))
        lists, entries = lists_of(text.encode())
        expected = [("images", *each) for each in enumerate(images)]
        assert entries == expected + [("annotations", *each) for each in enumerate(annotations)]
        assert lists.lists == {"images", "annotations"} and not lists.others
        with pytest.raises(ValueError):
            lists_of(text.encode()[: rng.randrange(len(text.encode()))])


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (b'{"a": NaN}', "invalid_row"),
        (b"1e999", "invalid_row"),
        (b"1" * 10_000, "invalid_row"),
        (b'{"a" 1}', "invalid_row"),
        (b"1 2", "invalid_row"),
        (b"[" * 50_000 + b"]" * 50_000, "json_too_deep"),
        (b'"' + b"x" * (3 << 20) + b'"', "text_too_long"),
        (b'"' + b"\\\\" * (1 << 20) + b'"', "text_too_long"),
        (b'[{"a": "]"}' + b', {"a": "]"}' * (1 << 18) + b"]", "text_too_long"),
    ],
)
def test_what_is_wrong_with_one_entry_stays_with_it(lists_of, entry, reason):
    """Those around it are read."""
    _, entries = lists_of(b'{"images": [1, ' + entry + b', {"b": 2}, 3], "annotations": [4]}')
    assert reasons(entries) == [None, reason, None, None, None]
    assert [value for _, _, value in entries if not isinstance(value, Unreadable)] == [1, {"b": 2}, 3, 4]
    assert [number for _, number, _ in entries] == [0, 1, 2, 3, 0]


def test_an_entry_of_the_greatest_length_is_read(lists_of):
    """The bound is the one that is written down."""
    _, entries = lists_of(json.dumps({"images": ["x" * (MOST_ENTRY_CHARS - 2), 7]}).encode())
    assert reasons(entries) == [None, None]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
def test_json_comes_in_several_encodings(lists_of, encoding):
    """As in RFC 4627; the first bytes tell."""
    assert lists_of('{"images": ["é😀"]}'.encode(encoding))[1] == [("images", 0, "é😀")]


def test_bytes_that_are_no_utf8_are_kept_until_the_row_is_judged(lists_of):
    """As surrogates, like those that an escape makes: the row is quarantined, not the file refused."""
    _, entries = lists_of(b'{"images": ["caf\xe9", "\\ud800", "\\ud83d\\ude00"]}')
    assert [value for _, _, value in entries] == ["caf\udce9", "\ud800", "😀"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file ends at character 1"),
        ("7", "'7' stands at character 1"),
        ("hello", "'h' stands at character 1"),
        ('{"images": [1, 2', "the file ends within a value"),
        ('{"images": ["', "the file ends within a value"),
        ('{"other": "', "the file ends within a value"),
        ('{"images": [1,]}', "a value was expected at character 15"),
        ('{"images": [,1]}', "a value was expected at character 13"),
        ('{"a": 1,}', "a value was expected at character 9"),
        ("{7: 1}", "a name was expected"),
        ('{"images" [1]}', "a name was expected"),
        ('{"images": [1}', "'}' stands at character 14"),
        ('{"images": [1]} x', "more than one value"),
        ('{"images": [], "images": [1]}', "'images' stands twice"),
        ('{"other": ' + "[" * 200_000, "nested deeper than 100000"),
    ],
)
def test_a_file_that_is_no_json_is_refused(lists_of, text, problem):
    """With the place where it shows."""
    with pytest.raises(ValueError, match=problem):
        lists_of(text.encode())


def test_what_else_was_found_is_told(lists_of):
    """A list of the wrong name is passed over, however deep; null is nothing, a number no list."""
    deep = "[" * 90_000 + "]" * 90_000
    lists, entries = lists_of(f'{{"other": {deep}, "images": null, "annotations": 7, "more": [1, 2]}}'.encode())
    assert (lists.lists, lists.others, entries) == (set(), {"annotations"}, [])
    assert lists_of(b"[1]")[1] == []


def test_memory_is_that_of_an_entry(tmp_path):
    """A file of 14 MB, of which a seventh is held at any time."""
    path = tmp_path / "c.json"
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(100)]
    annotations = [{"id": n, "image_id": n % 100, "caption": f"{n} " + "x" * 2_800} for n in range(5_000)]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    del images, annotations
    assert path.stat().st_size > 14_000_000
    tracemalloc.start()
    try:
        reader = open_reader(SourceOptions(name="s", path=path, task="caption"))
        assert sum(row.problem is None for row in reader.rows()) == 5_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("unit", [b"{,}", b"nul", b'"\\q"'])
def test_bad_entries_cost_no_more_than_their_rows(lists_of, unit):
    """Each is an error of the decoder's, which counts the lines of all that it was given."""
    started = time.process_time()
    _, entries = lists_of(b'{"images": [' + b",".join([unit] * 40_000) + b"]}")
    assert reasons(entries) == ["invalid_row"] * 40_000
    assert time.process_time() - started < 3


def test_a_corpus_names_its_source_where_the_file_is_no_json(tmp_path):
    """As every reader does."""
    (tmp_path / "c.json").write_text('{"images": [')
    with pytest.raises(SourceError, match=r"source 's': .*c\.json is no JSON: the file ends"):
        open_reader(SourceOptions(name="s", path=tmp_path / "c.json", task="caption"))
