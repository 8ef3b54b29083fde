from __future__ import annotations

import pytest

from multimodal.errors import ContaminationError
from multimodal.ingest.duplicates.report import read_report

SPLITS = ["train", "train", "test", "test"]
TEXT = "the train to the coast leaves from the second platform at noon"


def leaky(task, photograph, clip):
    """Rows and media of two train and two test rows; the first test row repeats the first train row nearly."""
    if task == "caption":
        media = {
            "0.png": photograph(1), "1.png": photograph(2),
            "2.jpg": photograph(1, "JPEG", 128, quality=70), "3.png": photograph(3),
        }  # fmt: skip
    elif task == "transcribe":
        media = {"0.wav": clip(1), "1.wav": clip(2), "2.mp3": clip(1, "MP3", 0.5, 0.004), "3.wav": clip(3)}
    else:
        texts = [TEXT, "a boat without a name", TEXT.replace("noon", "nine"), "nobody opened the old door"]
        return [["text", "split"], *zip(texts, SPLITS, strict=True)], {}
    return [
        ["path", "text", "split"],
        *[[name, f"{name} is it", kind] for name, kind in zip(media, SPLITS, strict=True)],
    ], media


@pytest.mark.parametrize("task", ["caption", "transcribe", "infill"])
def test_a_planted_leak_stops_the_run(run, photograph, clip, task):
    """In each modality the gate names the pair, its similarity and the cure; the run stops again when repeated."""
    rows, media = leaky(task, photograph, clip)
    for _ in range(2):
        with pytest.raises(ContaminationError, match=r"1 of 2 test samples are in train, 50.00%, at most 10.00%") as e:
            run(task, rows, media, decontamination={"max_share": 0.1})
    assert "s m.csv#3 is in train as s m.csv#1: similarity 0." in str(e.value)
    assert "both splits are official" in str(e.value)
    assert "ingest.splits.by_cluster" in str(e.value)


@pytest.mark.parametrize("task", ["caption", "transcribe", "infill"])
def test_a_share_within_the_limit_is_reported(run, photograph, clip, task):
    """The same leak under a wider gate is a finished dataset with a report."""
    rows, media = leaky(task, photograph, clip)
    found = read_report(run(task, rows, media, decontamination={"max_share": 0.5}).ledger).contamination
    assert (found.test, found.leaked, found.share) == (2, 1, 0.5)
    assert sum(found.by_modality.values()) == 1
    assert found.pairs[0].is_official


def test_dropping_near_duplicates_opens_the_gate(run, photograph, clip):
    """What train no longer holds leaks no longer."""
    rows, media = leaky("caption", photograph, clip)
    info = run("caption", rows, media, decontamination={"max_share": 0}, duplicates={"pictures": "drop"})
    assert info.by_split == {"test": 2, "train": 1}


def test_a_text_that_only_looks_different_is_found_without_comparing_nearly(run):
    """Case and punctuation are no difference; without a limit it is reported and nothing stops."""
    rows = [["text", "split"], [TEXT, "train"], [TEXT.upper() + "!", "test"], ["something else", "test"]]
    found = read_report(run("infill", rows).ledger).contamination
    assert (found.leaked, found.pairs[0].how) == (1, "the same text")
    assert (found.pairs[0].test, found.pairs[0].train) == ("s m.csv#2", "s m.csv#1")


def test_captions_that_say_the_same_leak_nothing(run, photograph):
    """Two pictures with one caption are two samples."""
    media = {"a.png": photograph(1), "b.png": photograph(2)}
    rows = [["path", "text", "split"], ["a.png", "a house", "train"], ["b.png", "a house", "test"]]
    assert run("caption", rows, media, decontamination={"max_share": 0}).counts.kept == 2


def test_a_picture_beside_the_content_leaks_too(run, photograph, clip):
    """Train and test clips that share the picture beside them are no strangers."""
    media = {"a.wav": clip(1), "b.wav": clip(2), "p.png": photograph(1)}
    rows = [["path", "text", "split", "picture"], ["a.wav", "a", "train", "p.png"], ["b.wav", "b", "test", "p.png"]]
    with pytest.raises(ContaminationError, match="the same content"):
        run("transcribe", rows, media, decontamination={"max_share": 0})


def test_only_the_first_pairs_are_named(run):
    """Of many leaks twenty are named and all are counted."""
    texts = [f"sentence number {n} says {'abcdefghijklmnopqrstuvwxyz'[n]} and no more" for n in range(25)]
    rows = [["text", "split"], *[[text, "train"] for text in texts], *[[text.upper(), "test"] for text in texts]]
    with pytest.raises(ContaminationError, match="and 5 more") as e:
        run("infill", rows, decontamination={"max_share": 0.2})
    assert str(e.value).count(" is in train as ") == 20
