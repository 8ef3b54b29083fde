from __future__ import annotations

import pytest

from multimodal.dataset import Dataset, Fate, read_ledger
from multimodal.ingest.duplicates.report import read_clusters, read_report

HEADER = ["path", "text", "split"]


@pytest.fixture
def album(photograph):
    """Two pictures, each of them with a copy in another size and quality, and one without."""
    return {
        "a.png": photograph(1), "a2.jpg": photograph(1, "JPEG", 160, quality=60),
        "b.png": photograph(2), "b.bmp": photograph(2, "BMP"),
        "c.png": photograph(3),
    }  # fmt: skip


ROWS = [[name, f"text of {name}", ""] for name in ("a.png", "a2.jpg", "b.png", "b.bmp", "c.png")]


def fates(info):
    return {row.uri.partition("#")[2]: row for row in read_ledger(info.ledger)}


def kept_texts(info):
    return {sample.text for sample in Dataset(info.path).samples()}


def test_off_keeps_all(run, album):
    """By default nothing but exact repetitions is looked for, and no index is made."""
    info = run("caption", [HEADER, *ROWS], album)
    assert info.counts.kept == 5
    assert not (info.path.parents[1] / "duplicates.db").exists()
    assert read_report(info.ledger).compared == {}


def test_flag_keeps_and_names(run, album):
    """A flagged row is a sample; its ledger row says what it is like, and the cluster is recorded. A copy of the same
    pixels is no second content."""
    info = run("caption", [HEADER, *ROWS], album, duplicates={"pictures": "flag"})
    assert info.counts.kept == 5
    details = sorted(row.detail for row in read_ledger(info.ledger) if row.detail)
    assert len(details) == 2
    assert details[0] == "decodes to the same content as b.png"
    assert details[1].startswith("near duplicate of s m.csv#")
    clusters = read_clusters(info.ledger)
    by_text = {sample.text: sample.content_id for sample in Dataset(info.path).samples()}
    a, a2, b, bmp = (by_text[f"text of {name}"] for name in ("a.png", "a2.jpg", "b.png", "b.bmp"))
    assert (clusters, bmp) == ({a: min(a, a2), a2: min(a, a2)}, b)
    counts = read_report(info.ledger).clusters["image"]
    assert (counts.clusters, counts.contents, counts.largest) == (1, 2, 2)


def test_contents_by_their_bytes_alone(run, album):
    """Where equal pixels are not one content, they are near duplicates of each other."""
    info = run("caption", [HEADER, *ROWS], album, duplicates={"pictures": "flag", "same_decoded": False})
    details = sorted(row.detail for row in read_ledger(info.ledger) if row.detail)
    assert details[0].startswith("decodes to the same content as s m.csv#")
    assert read_report(info.ledger).clusters["image"].clusters == 2
    assert len(list(Dataset(info.path).contents())) == 5


def test_drop_keeps_one_of_each_whatever_the_order_of_rows(run, album):
    """The fate of the others is that of a duplicate; the sums balance; shuffled rows keep the same samples. A copy of
    the same pixels is the same content with another caption."""
    info = run("caption", [HEADER, *ROWS], album, duplicates={"pictures": "drop"})
    assert (info.counts.kept, info.counts.duplicate) == (4, 1)
    kept = {sample.sample_id for sample in Dataset(info.path).samples()}
    for row in read_ledger(info.ledger, Fate.DUPLICATE):
        assert row.duplicate_of in kept
        assert row.sample_id not in kept
    other = run("caption", [HEADER, *ROWS[::-1]], album, duplicates={"pictures": "drop"})
    assert other.path != info.path
    assert kept_texts(other) == kept_texts(info)


def test_what_is_tested_is_kept(run, album):
    """Of a test picture and its copy in train, train's is dropped, whatever their ids and places are."""
    for first, second in (("a.png", "a2.jpg"), ("a2.jpg", "a.png")):
        rows = [[first, "one", "train"], [second, "two", "test"]]
        assert kept_texts(run("caption", [HEADER, *rows], album, duplicates={"pictures": "drop"})) == {"two"}


def test_all_captions_of_a_picture_go_together(run, album):
    """A copy's captions are duplicates of the kept picture's, of the same text where there is one."""
    rows = [[name, text, "test" if name == "a.png" else ""] for name in ("a2.jpg", "a.png") for text in ("one", "two")]
    info = run("caption", [HEADER, *rows], album, duplicates={"pictures": "drop"})
    samples = {sample.text: sample.sample_id for sample in Dataset(info.path).samples()}
    assert set(samples) == {"one", "two"}
    dropped = sorted(fates(info).items())[:2]
    assert [row.duplicate_of for _, row in dropped] == [samples["one"], samples["two"]]


def test_an_exact_duplicate_of_what_was_dropped_points_to_what_was_kept(run, album):
    """No ledger row is a duplicate of a sample that is not there."""
    rows = [["a2.jpg", "one", ""], ["a2.jpg", "one", ""], ["a.png", "two", "test"]]
    info = run("caption", [HEADER, *rows], album, duplicates={"pictures": "drop"})
    (kept,) = Dataset(info.path).samples()
    assert [row.duplicate_of for row in read_ledger(info.ledger)] == [kept.sample_id, kept.sample_id, ""]


def test_another_style_is_another_sample(run, album):
    """A German caption of a copy repeats no English one."""
    rows = [["path", "text", "style"], ["a.png", "a house", "en"], ["a2.jpg", "ein Haus", "de"]]
    assert run("caption", rows, album, duplicates={"pictures": "drop"}).counts.kept == 2


def test_sounds(run, clip):
    """A louder copy in another codec, a few milliseconds late, is dropped; another clip is not."""
    media = {"a.wav": clip(1, gain=0.3), "a.mp3": clip(1, "MP3", shift_seconds=0.005), "b.wav": clip(2)}
    rows = [["path", "text"], *[[name, name] for name in media]]
    info = run("transcribe", rows, media, duplicates={"sounds": "drop"})
    assert (info.counts.kept, info.counts.duplicate) == (2, 1)
    assert "b.wav" in kept_texts(info)


def test_texts_are_compared_by_input_and_target(run):
    """Of noisy texts a pair alike on both sides is dropped; the same noise with another target is not."""
    clean = "the train to the coast leaves from the second platform at noon"
    rows = [
        ["input", "text"],
        [clean.replace("coast", "c0ast"), clean],
        [clean.replace("second", "sec0nd"), clean.replace("noon", "nine")],
        [clean.replace("coast", "c0ast!"), "something else that nobody would take for it"],
    ]
    info = run("denoise", rows, duplicates={"texts": "drop"})
    assert (info.counts.kept, info.counts.duplicate) == (2, 1)
    assert "something else that nobody would take for it" in kept_texts(info)
