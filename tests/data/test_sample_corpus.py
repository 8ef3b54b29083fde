"""The sample corpus that ships: enough of it, small, grouped so that nothing leaks, and made by its generator."""

import csv
import importlib.util
import json
import random
import shutil
import sys
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path

import pytest
import soundfile
from PIL import Image, UnidentifiedImageError

from multimodal.synthetic import speech
from multimodal.synthetic.ogg import encode_ogg
from multimodal.synthetic.scenes import HELD_OUT_PAIRS, Scene

DATA = Path(__file__).parents[2] / "data"
SAMPLE = DATA / "sample"
TEXT_TABLES = ("denoise", "restyle", "infill")


@pytest.fixture(scope="module")
def generator():
    """data/make_sample.py as a module."""
    spec = importlib.util.spec_from_file_location("make_sample", DATA / "make_sample.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(name: str) -> list[dict[str, str]]:
    with (SAMPLE / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def good(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows without those that are bad on purpose; a repeated row counts once."""
    distinct = {tuple(row.values()): row for row in rows if row["group"] != "bad" and row["text"]}
    return list(distinct.values())


def test_is_at_most_20_megabytes():
    """The whole folder, tables and bad files included."""
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) <= 20e6


def test_scenes_are_many_and_captioned_twice():
    """At least 3,000 pictures of 96 px, each with two different captions of 8 to 25 words."""
    captions = defaultdict(list)
    for row in good(table("scenes")):
        captions[row["path"]].append(row["text"])
    assert len(captions) >= 3000
    assert all(len(texts) == 2 == len(set(texts)) for texts in captions.values())
    assert {8 <= len(text.split()) <= 25 for texts in captions.values() for text in texts} == {True}
    for path in islice(captions, 0, None, 200):
        assert Image.open(SAMPLE / path).size == (96, 96)


def test_held_out_combinations_are_only_in_test():
    """A scene is marked as test exactly if it shows a held-out pair of colour and shape."""
    rows = good(table("scenes"))
    for row in rows:
        scene = Scene.from_json(json.loads(row["scene"]))
        shows_held_out = any(item.pair in HELD_OUT_PAIRS for item in scene.objects)
        assert (row["split"] == "test") == shows_held_out and row["group"] == scene.combination
    assert 60 <= len({row["path"] for row in rows if row["split"] == "test"}) <= 80


def test_no_text_of_scenes_tells_of_a_held_out_pair():
    """The text tables describe only combinations that training pictures may show."""
    held_out = {f"{colour} {shape}" for colour, shape in HELD_OUT_PAIRS}
    assert not any(pair in row["text"] for name in TEXT_TABLES for row in table(name) for pair in held_out)


def test_speech_is_enough_and_one_voice_is_only_in_test():
    """1,500 different utterances of 1 to 4 s at 16 kHz in four voices, one of which only test may hear."""
    rows = good(table("speech"))
    assert len(rows) >= 1500 and len({row["text"] for row in rows}) == len(rows)
    splits = defaultdict(set)
    for row in rows:
        splits[row["speaker"]].add(row["split"])
    assert sorted(splits.values(), key=sorted) == [{""}, {""}, {""}, {"test"}]
    assert len({word for row in rows for word in row["text"].split()}) >= 80
    for row in rows[::100]:
        clip = soundfile.info(SAMPLE / row["path"])
        assert clip.samplerate == 16_000 and clip.channels == 1 and 1 <= clip.duration <= 4


def test_texts_are_enough_and_grouped():
    """2,000 different sentences; noisy, formal and informal versions of one sentence share its group in all tables."""
    groups = defaultdict(set)
    for name in TEXT_TABLES:
        for row in good(table(name)):
            groups[row["text"]].add(row["group"])
    assert len(groups) >= 2000
    assert all(len(found) == 1 for found in groups.values())
    styles = Counter(row["style"] for row in table("restyle"))
    assert styles["formal"] == styles["informal"] == len(groups) // 2
    assert all(row["input"] != row["text"] for name in ("denoise", "restyle") for row in good(table(name)))


def test_spoken_and_written_sentences_are_different():
    """No sentence of the text tables is spoken: a transcript cannot be learnt from a text task."""
    spoken = {row["text"] for row in table("speech")}
    assert not spoken & {row["text"] for name in TEXT_TABLES for row in table(name)}


def test_bad_rows_are_bad():
    """The truncated picture, the lying header, the wrong extensions, the empty texts and the repetitions are there."""
    with pytest.raises(OSError, match="truncated"):
        Image.open(SAMPLE / "bad/truncated.jpg").load()
    with pytest.raises(UnidentifiedImageError):
        Image.open(SAMPLE / "bad/text.png")
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(SAMPLE / "bad/text.ogg")
    promised = int.from_bytes((SAMPLE / "bad/lying.wav").read_bytes()[40:44], "little")
    assert promised > (SAMPLE / "bad/lying.wav").stat().st_size
    for name, empty, repeated in (("scenes", 1, 1), ("denoise", 1, 1), ("speech", 0, 0)):
        rows = table(name)
        assert sum(not row["text"] for row in rows) == empty
        assert len(rows) - len({tuple(row.values()) for row in rows}) == repeated


def test_pictures_and_captions_come_from_the_generator(generator):
    """The first 20 scenes, drawn again, have the same bytes and captions."""
    rows = iter(table("scenes"))
    for index, item in enumerate(islice(generator.scene_items(), 20)):
        path = f"scenes/{index:04d}.webp"
        assert item.webp() == (SAMPLE / path).read_bytes()
        assert list(item.rows(path)) == list(islice(rows, 2))


def test_texts_come_from_the_generator(generator):
    """The first 20 pairs of sentences, written again, are the first 40 rows of each text table."""
    spoken = {row["text"] for row in table("speech")}
    pairs = list(islice(generator.sentence_pairs(spoken), 20))
    for name in TEXT_TABLES:
        made = [row for pair in pairs for row in getattr(pair, f"{name}_rows")()]
        assert made == table(name)[:40]


def test_bad_files_come_from_the_generator(generator):
    """The WAV with the lying header, made again, has the same bytes."""
    assert generator.lying_wav() == (SAMPLE / "bad/lying.wav").read_bytes()


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng, needed only to regenerate, is not installed")
def test_speech_comes_from_the_generator(generator):
    """Twenty of the first utterances, spoken again, have the same bytes."""
    requests = speech._different_requests(random.Random(f"speech-{generator.SEED}"), generator.UTTERANCES * 11 // 10)
    rows = {row["text"]: row for row in table("speech")}
    spoken = [request for request in requests[:25] if request.text in rows][:20]
    assert len(spoken) == 20
    for request, wave in zip(spoken, speech.speak_many(spoken), strict=True):
        row = rows[request.text]
        made = encode_ogg(wave, speech.SAMPLING_RATE, serial=int(Path(row["path"]).stem))
        assert row["speaker"] == request.voice
        assert made == (SAMPLE / row["path"]).read_bytes()
