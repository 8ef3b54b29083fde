from __future__ import annotations

import json

import pytest

from multimodal.errors import ConfigError, SourceError
from multimodal.ingest.layouts.coco import CocoReader, KarpathyReader
from multimodal.ingest.layouts.common_voice import CommonVoiceReader
from multimodal.ingest.layouts.flickr import FlickrReader
from multimodal.ingest.layouts.librispeech import LibriSpeechReader
from multimodal.ingest.layouts.ljspeech import LJSpeechReader
from multimodal.ingest.options import SourceOptions
from multimodal.ingest.readers import open_reader
from multimodal.ingest.reasons import Reason


@pytest.fixture
def tree(tmp_path):
    """`tree({name: content})`: a folder of files; content is text, or any JSON value for `.json`."""

    def write(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content) if name.endswith(".json") else content)
        return tmp_path

    return write


def read(path, task, reader, **options):
    found = open_reader(SourceOptions(name="s", path=path, task=task, **options))
    assert type(found) is reader
    return found, list(found.rows())


COCO = {
    "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}, {"id": 3, "file_name": "../3.jpg"}],
    "annotations": [
        {"id": 10, "image_id": 1, "caption": "one"},
        {"id": 11, "image_id": 1, "caption": "uno"},
        {"id": 12, "image_id": 9, "caption": "lost"},
        {"id": 13, "image_id": 3, "caption": "away"},
    ],
}


def test_coco_is_read_from_its_folder(tree):
    """Annotations of each file, pictures in the folder of its split; an image without a caption is a row too."""
    small = {"images": COCO["images"][:1], "annotations": COCO["annotations"][:1]}
    root = tree(
        {"annotations/captions_train2017.json": COCO, "annotations/captions_val2017.json": small, "train2017/1.jpg": ""}
    )
    reader, rows = read(root, "caption", CocoReader)
    first = rows[0]
    assert first.values == {"path": "train2017/1.jpg", "text": "one", "split": "train"}
    assert first.uri == "captions_train2017.json#/annotations/0"
    assert first.attributes == {"image_id": 1, "annotation_id": 10}
    assert reader.media_path(first) == root / "train2017/1.jpg"
    problems = [None, None, Reason.INVALID_ROW, Reason.UNSAFE_NAME, Reason.EMPTY_TEXT, None]
    assert [row.problem for row in rows] == problems
    assert rows[-1].values == {"path": "1.jpg", "text": "one", "split": "val"}


def test_one_coco_file_finds_its_pictures(tree):
    """The pictures lie beside `annotations`, or in media_root."""
    root = tree({"annotations/captions_val2014.json": COCO, "val2014/1.jpg": ""})
    reader, rows = read(root / "annotations/captions_val2014.json", "caption", CocoReader)
    assert reader.media_path(rows[0]) == root / "val2014/1.jpg"
    with pytest.raises(SourceError, match="no list 'images'"):
        open_reader(SourceOptions(name="s", path=tree({"x.json": [1]}) / "x.json", task="caption"))


def test_karpathys_splits_are_given_through(tree):
    """restval is train, as in the paper's code; sentences are rows."""
    images = [
        {
            "filepath": "val2014",
            "filename": "1.jpg",
            "split": "restval",
            "sentences": [{"raw": "a"}, {"raw": "b"}],
            "cocoid": 7,
        },
        {"filename": "2.jpg", "split": "test", "sentences": [{"raw": "c"}]},
        {"filename": "3.jpg", "split": "val", "sentences": []},
        {"filename": "/etc/passwd", "split": "val", "sentences": [{"raw": "d"}]},
    ]
    _, rows = read(tree({"dataset_coco.json": {"images": images}}) / "dataset_coco.json", "caption", KarpathyReader)
    assert rows[1].values == {"path": "val2014/1.jpg", "text": "b", "split": "train"}
    assert rows[1].uri == "dataset_coco.json#/images/0/sentences/1"
    assert [row.values.get("split") for row in rows[:3]] == ["train", "train", "test"]
    assert [row.problem for row in rows[3:]] == [Reason.INVALID_ROW, Reason.UNSAFE_NAME]


@pytest.mark.parametrize(
    ("name", "content", "folder"),
    [
        ("captions.txt", 'image,caption\n1.jpg,"a, b"\n2.jpg,two\n3.jpg\n', "Images"),
        ("Flickr8k.token.txt", "1.jpg#0\ta, b\n2.jpg#0\ttwo\nrubbish\n", "Flicker8k_Dataset"),
        (
            "results.csv",
            "image_name| comment_number| comment\n1.jpg| 0| a, b\n2.jpg| 1| two\n3.jpg|x\n",
            "flickr30k_images",
        ),
    ],
)
def test_flickr_in_each_of_its_forms(tree, name, content, folder):
    """Kaggle's captions.txt, the original token file, and Flickr30k's results.csv; lists of names tell the splits."""
    lists = {"Flickr_8k.trainImages.txt": "1.jpg\n", "test.txt": "2\n"}
    root = tree({name: content, f"{folder}/1.jpg": "", **lists})
    reader, rows = read(root, "caption", FlickrReader)
    assert [(row.values.get("text", "").strip(), row.values.get("split")) for row in rows[:2]] == [
        ("a, b", "train"),
        ("two", "test"),
    ]
    assert reader.media_path(rows[0]) == root / folder / "1.jpg"
    assert [row.problem for row in rows] == [None, None, Reason.INVALID_ROW]
    assert {file.name for file in reader.text_files()} == {name, *lists}


def test_librispeech_speakers_are_groups(tree):
    """A line is an utterance; the split is in the folder's name; a clip without a line has no text."""
    root = tree(
        {
            "LibriSpeech/train-clean-100/19/198/19-198.trans.txt": "19-198-0000 HELLO WORLD\n19-198-0001 AND ON\n",
            "LibriSpeech/train-clean-100/19/198/19-198-0000.flac": "",
            "LibriSpeech/train-clean-100/19/198/19-198-0009.flac": "",
            "LibriSpeech/dev-clean/84/1/84-1.trans.txt": "84-1-0000 DEV\n",
        }
    )
    reader, rows = read(root / "LibriSpeech", "transcribe", LibriSpeechReader)
    assert [(row.values.get("split"), row.problem) for row in rows] == [
        ("dev", None),
        ("train", None),
        ("train", None),
        (None, Reason.EMPTY_TEXT),
    ]
    path = "train-clean-100/19/198/19-198-0000.flac"
    assert rows[1].values == {"path": path, "text": "HELLO WORLD", "speaker": "19", "group": "19", "split": "train"}
    assert rows[1].uri == "train-clean-100/19/198/19-198.trans.txt#1"
    assert reader.media_path(rows[1]) == root / "LibriSpeech" / path
    _, alone = read(root / "LibriSpeech/dev-clean", "transcribe", LibriSpeechReader)
    assert alone[0].values["split"] == "dev"


HEADER = "client_id\tpath\tsentence\tup_votes\tage"


def test_common_voice_lists_are_splits(tree):
    """The three lists, speakers as groups, `.mp3` where old releases leave it out; `validated` is not read twice."""
    root = tree(
        {
            "train.tsv": f'{HEADER}\neve\ta.mp3\t"Hello\t2\t\n\nbob\tb\tBye\t2\tteens\n',
            "test.tsv": f"{HEADER}\nann\tc.mp3\tOh\t1\t\nann\td.mp3\n",
            "validated.tsv": f"{HEADER}\neve\ta.mp3\tHello\t2\t\n",
            "clips/a.mp3": "",
        }
    )
    reader, rows = read(root, "transcribe", CommonVoiceReader)
    assert rows[0].values == {
        "path": "clips/a.mp3",
        "text": '"Hello',
        "speaker": "eve",
        "group": "eve",
        "split": "train",
    }
    assert rows[1].values["path"] == "clips/b.mp3" and rows[1].attributes == {"up_votes": "2", "age": "teens"}
    assert [(row.uri, row.problem) for row in rows[2:]] == [("test.tsv#1", None), ("test.tsv#2", Reason.INVALID_ROW)]
    assert reader.media_path(rows[0]) == root / "clips/a.mp3"
    _, validated = read(root / "validated.tsv", "transcribe", CommonVoiceReader, kind="common_voice")
    assert "split" not in validated[0].values


def test_ljspeech_gives_what_was_spoken(tree):
    """The normalised text, the chapter as group; a bar too few or too many spoils its own row."""
    root = tree(
        {
            "metadata.csv": 'LJ001-0001|In 1455, "so"|In fourteen, "so"\nx|y\nLJ002-0001|a|b|c\n',
            "wavs/LJ001-0001.wav": "",
        }
    )
    reader, rows = read(root, "transcribe", LJSpeechReader)
    assert rows[0].values == {"path": "wavs/LJ001-0001.wav", "text": 'In fourteen, "so"', "group": "LJ001"}
    assert rows[0].attributes == {"printed": 'In 1455, "so"'}
    assert rows[1].values == {"path": "wavs/x.wav", "text": "y"}
    assert rows[2].problem == Reason.INVALID_ROW
    assert reader.media_path(rows[0]) == root / "wavs/LJ001-0001.wav"


def test_a_corpus_serves_its_own_task_and_infill(tree):
    """Transcripts are texts too; captions are not to be had from speech."""
    root = tree({"metadata.csv": "a-1|one|one\n", "wavs/a-1.wav": ""})
    reader, rows = read(root, "infill", LJSpeechReader)
    assert reader.media_path(rows[0]) is None
    with pytest.raises(ConfigError, match="read as LJSpeech, which serves transcribe and infill, not caption"):
        open_reader(SourceOptions(name="s", path=root, task="caption"))


@pytest.mark.parametrize("kind", ["librispeech", "common_voice", "ljspeech", "flickr"])
def test_a_kind_that_is_not_there_is_refused(tree, kind):
    """`kind` overrules what the folder looks like; what it needs must be there."""
    root = tree({"a.txt": "x"})
    task = "caption" if kind == "flickr" else "transcribe"
    with pytest.raises(SourceError, match=r"no .* in"):
        open_reader(SourceOptions(name="s", path=root, task=task, kind=kind))


IMAGE = {"id": 1, "file_name": "a.jpg"}
CAPTION = {"image_id": 1, "caption": "x y", "id": 1}


@pytest.mark.parametrize(
    ("images", "annotations", "problems"),
    [
        (
            [IMAGE],
            [CAPTION, {**CAPTION, "image_id": [1]}, {**CAPTION, "image_id": {}}],
            [None, "invalid_row", "invalid_row"],
        ),
        ([IMAGE, {"id": {}}, {"id": [1]}], [CAPTION], [None, "invalid_row", "invalid_row"]),
        ([IMAGE, {}, 7], [CAPTION, 7], [None, "invalid_row", "invalid_row", "empty_text"]),
        ([IMAGE], [{**CAPTION, "id": [1]}, {**CAPTION, "caption": 5}], [None, "invalid_row"]),
    ],
)
def test_odd_types_in_coco_spoil_their_own_rows(tmp_path, images, annotations, problems):
    """A list for an id cannot be looked up; what is right beside it is read."""
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    rows = list(open_reader(SourceOptions(name="s", path=path, task="caption")).rows())
    assert [row.problem for row in rows] == problems


def test_coco_may_name_its_annotations_first(tree):
    """The order of keys in an object means nothing."""
    (one, two), sorts = (CAPTION, {**CAPTION, "id": 2, "image_id": 2}), {}
    for name in (("images", "annotations"), ("annotations", "images")):
        content = {"images": [IMAGE, {"id": 2, "file_name": "b.jpg"}, {"id": 3}], "annotations": [one, two]}
        path = tree({"c.json": {key: content[key] for key in name}}) / "c.json"
        rows = list(open_reader(SourceOptions(name="s", path=path, task="caption")).rows())
        sorts[name] = [(row.uri, row.values.get("path"), row.problem) for row in rows]
    first, second = sorts.values()
    assert first == second
    assert first == [
        ("c.json#/annotations/0", "a.jpg", None),
        ("c.json#/annotations/1", "b.jpg", None),
        ("c.json#/images/2", None, Reason.EMPTY_TEXT),
    ]


@pytest.mark.parametrize(
    ("images", "annotations", "problems"),
    [
        ('{"id": 1, "file_name": "a.jpg"}', '{"image_id": 1, "caption": "caf\xe9"}', ["invalid_utf8"]),
        ('{"id": 1, "file_name": "a.jpg"}', '{"image_id": 1, "caption": "\\ud800"}', ["invalid_utf8"]),
        ('{"id": 1, "file_name": "a.jpg", "x": 1e999}', '{"image_id": 1, "caption": "x"}', ["invalid_row"] * 2),
        ('{"id": 1, "file_name": "a.jpg"}', '{"image_id": 1, "caption": NaN}', ["invalid_row", "empty_text"]),
        ('{"id": 1, "file_name": "a.jpg"}', '{"image_id": 1, "x": DEEP}', ["json_too_deep", "empty_text"]),
        (
            '{"id": 1, "file_name": "a.jpg", "x": DEEP}',
            '{"image_id": 1, "caption": "x"}',
            ["invalid_row", "json_too_deep"],
        ),
        ('{"id": 1, "file_name": "a.jpg"}', '{"image_id": 1, "caption": "LONG"}', ["text_too_long", "empty_text"]),
        ('{"id": "LONGISH", "file_name": "a.jpg"}', '{"image_id": 1, "caption": "x"}', ["invalid_row"] * 2),
        ('{"id": 1, "file_name": "LONGISH"}', '{"image_id": 1, "caption": "x"}', ["invalid_row"]),
    ],
)
def test_hostile_entries_of_coco_spoil_their_own_rows(tmp_path, images, annotations, problems):
    """The good ones around them are read."""
    text = (
        f'{{"images": [{images}, {{"id": 2, "file_name": "b.jpg"}}], '
        f'"annotations": [{annotations}, {{"image_id": 2, "caption": "fine"}}]}}'
    )
    text = text.replace("DEEP", "[" * 9000 + "]" * 9000).replace("LONGISH", "x" * 5000).replace("LONG", "x" * (2 << 20))
    path = tmp_path / "c.json"
    path.write_bytes(text.encode("latin-1"))
    rows = list(open_reader(SourceOptions(name="s", path=path, task="caption")).rows())
    assert [row.problem for row in rows] == [problems[0], None, *problems[1:]]
    assert rows[1].values == {"path": "b.jpg", "text": "fine"}
    assert all(len(row.detail) < 300 for row in rows)


def test_hostile_entries_of_karpathys_splits_spoil_their_own_rows(tmp_path):
    """A number that is none, nesting, and text without end."""
    good = '{"filename": "a.jpg", "split": "val", "sentences": [{"raw": "x y"}]}'
    bad = ['{"imgid": NaN}', "[" * 9000 + "]" * 9000, '{"filename": "' + "x" * (2 << 20) + '"}']
    path = tmp_path / "dataset.json"
    path.write_text(f'{{"images": [{good}, {", ".join(bad)}, {good}], "dataset": "coco"}}')
    rows = list(open_reader(SourceOptions(name="s", path=path, task="caption", kind="karpathy")).rows())
    assert [row.problem for row in rows] == [None, "invalid_row", "json_too_deep", "text_too_long", None]
    assert [row.uri for row in rows[2:4]] == ["dataset.json#/images/2", "dataset.json#/images/3"]


@pytest.mark.parametrize("annotations", [7, "x", {"a": 1}])
def test_annotations_that_are_no_list_are_refused(tmp_path, annotations):
    """The whole file is another one."""
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"images": [IMAGE], "annotations": annotations}))
    with pytest.raises(SourceError, match="'annotations' no list"):
        open_reader(SourceOptions(name="s", path=path, task="caption"))


def test_odd_types_in_karpathys_splits_spoil_their_own_rows(tmp_path):
    """Numbers for a folder or a sentence."""
    good = {"filename": "a.jpg", "filepath": "x", "sentences": [{"raw": "x y"}, {"raw": 5}, {"raw": ["q"]}]}
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"images": [good, {**good, "filepath": 3}]}))
    rows = list(open_reader(SourceOptions(name="s", path=path, task="caption")).rows())
    assert [row.problem for row in rows] == [None, "invalid_row", "invalid_row", "invalid_row"]
    assert rows[0].values["path"] == "x/a.jpg"


def test_a_flickr_list_that_is_no_text_is_refused(tree):
    """Nobody can say which pictures it names."""
    path = tree({"captions.txt": "image,caption\na.jpg,one\n", "Images/a.jpg": ""})
    (path / "train.txt").write_bytes(b"a.jpg\n\xff.jpg\n")
    with pytest.raises(SourceError, match="cannot read the split list"):
        open_reader(SourceOptions(name="s", path=path, task="caption"))
