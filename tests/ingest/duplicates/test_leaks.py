from __future__ import annotations

import pytest

from multimodal.errors import ContaminationError
from multimodal.ingest import ingest
from multimodal.ingest.duplicates.report import read_report
from multimodal.ingest.options import IngestOptions

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


CLEAN = "the train to the coast leaves from the second platform at noon"
NOISY = CLEAN.replace("coast", "c0ast")
OTHERS = ["a boat without a name lies in the harbour", "nobody opened the old door for years"]


@pytest.fixture
def run_tasks(tmp_path, manifest, clip, photograph):
    """`run_tasks({task: [(split, input, text), ...]}, **options)`: a source per task, each row of other media."""

    def do(tables, **options):
        sources, number = [], 0
        for task, rows in tables.items():
            lines = [["path", "input", "text", "split", "style"]]
            for split, given, text in rows:
                number += 1
                name = {"caption": f"{number}.png", "transcribe": f"{number}.wav"}.get(task, "")
                if name:
                    (tmp_path / name).write_bytes((photograph if task == "caption" else clip)(number))
                lines.append([name, given, text, split, "plain"])
            sources.append({"name": task, "task": task, "path": manifest(f"{task}.csv", lines)})
        given = IngestOptions(sources=sources, sandbox={"workers": 1}, **options)
        return ingest(given, seed=0, workspace=tmp_path / "w")

    return do


ACROSS = {
    "denoise": [("test", NOISY, CLEAN), ("test", "a b0at", OTHERS[0])],
    "restyle": [("train", "there is a train at noon", CLEAN), ("train", OTHERS[1], "the door")],
}


def test_an_answer_that_another_task_taught_leaks(run_tasks):
    """The same target in train under restyle and in test under denoise stops the run; by default it is reported."""
    found = read_report(run_tasks(ACROSS).ledger).contamination
    assert (found.test, found.leaked, found.across_tasks) == (2, 1, 1)
    assert found.pairs[0].how == "the same target of denoise and restyle"
    assert (found.pairs[0].test, found.pairs[0].train) == ("denoise denoise.csv#1", "restyle restyle.csv#1")
    with pytest.raises(ContaminationError, match=r"denoise.csv#1 is in train as restyle restyle.csv#1: the same"):
        run_tasks(ACROSS, decontamination={"max_share": 0})
    assert run_tasks(ACROSS, decontamination={"max_share": 0, "texts": "rows"}).counts.kept == 4


def test_a_nearly_equal_answer_of_another_task_leaks_where_texts_are_compared_nearly(run_tasks):
    """One word of eleven differs: the gate says how like they are."""
    tables = ACROSS | {"restyle": [("train", "there is a train at noon", CLEAN.replace("noon", "nine"))]}
    with pytest.raises(ContaminationError, match=r"targets of denoise and restyle: similarity 0\.[789]"):
        run_tasks(tables, decontamination={"max_share": 0})


def test_an_answer_that_another_input_taught_leaks(run_tasks):
    """Within one task too, and then it is not counted as another task's; read as an input it taught nothing."""
    tables = {"denoise": [("test", NOISY, CLEAN), ("train", CLEAN.replace("train", "trian"), CLEAN)]}
    found = read_report(run_tasks(tables).ledger).contamination
    assert (found.leaked, found.across_tasks, found.pairs[0].how) == (1, 0, "the same target")
    tables = {"denoise": [("test", NOISY, CLEAN)], "restyle": [("train", CLEAN, OTHERS[1])]}
    assert read_report(run_tasks(tables).ledger).contamination.leaked == 0


def test_short_answers_are_common_property(run_tasks):
    """They leak with their input only, unless they are asked for."""
    tables = {"denoise": [("test", "y3s please", "yes please")], "infill": [("train", "", "yes please")]}
    assert read_report(run_tasks(tables).ledger).contamination.leaked == 0
    info = run_tasks(tables, decontamination={"min_target_chars": 5})
    assert read_report(info.ledger).contamination.leaked == 1


@pytest.mark.parametrize(
    "tables",
    [
        {"caption": [("train", "", CLEAN), ("test", "", CLEAN)]},
        {"transcribe": [("test", "", CLEAN)], "infill": [("train", "", CLEAN)]},
        {"caption": [("train", "", CLEAN)], "denoise": [("test", NOISY, CLEAN)]},
    ],
    ids=["captions", "transcript and text", "text and caption"],
)
def test_captions_and_transcripts_leak_by_their_texts_on_request_only(run_tasks, tables):
    """That they say the same is the nature of the data, unless somebody wants new sentences; nearly the same, too."""
    assert run_tasks(tables, decontamination={"max_share": 0}).counts.kept == 2
    everything = {"max_share": 0, "texts": "all"}
    with pytest.raises(ContaminationError, match="the same target"):
        run_tasks(tables, decontamination=everything)
    task = next(task for task, rows in tables.items() for row in rows if row[0] == "train")
    changed = [row if row[0] == "test" else (*row[:2], CLEAN.replace("noon", "nine")) for row in tables[task]]
    with pytest.raises(ContaminationError, match="similarity 0"):
        run_tasks(tables | {task: changed}, decontamination=everything)


@pytest.mark.parametrize("texts", ["targets", "all"])
def test_splits_by_cluster_open_the_gate_across_tasks(run_tasks, texts):
    """Forty sentences, each of them the target of three tasks and nearly that of a fourth: none is in two splits."""
    texts_ = [
        f"sentence number {n} tells of the {'abcdefghijklmnopqrst'[n % 20] * 5} and of {n * 7919}" for n in range(40)
    ]
    tables = {
        "denoise": [("", text.replace("e", "3"), text) for text in texts_],
        "infill": [("", "", text) for text in texts_],
        "restyle": [("", f"someone said: {text}, and so on and on", text + " too") for text in texts_],
        "transcribe": [("", "", text) for text in texts_[:3]],
    }
    options = {"decontamination": {"texts": texts}, "duplicates": {"texts": "flag"}}
    alone = read_report(run_tasks(tables, **options).ledger).contamination
    assert alone.across_tasks > 0
    info = run_tasks(
        tables, splits={"by_cluster": True, "val": 0.2, "test": 0.3}, decontamination={"max_share": 0, "texts": texts}
    )
    assert info.by_split["test"] > 5 and info.by_split["train"] > 5


def test_only_the_first_pairs_are_named(run):
    """Of many leaks twenty are named and all are counted."""
    texts = [f"sentence number {n} says {'abcdefghijklmnopqrstuvwxyz'[n]} and no more" for n in range(25)]
    rows = [["text", "split"], *[[text, "train"] for text in texts], *[[text.upper(), "test"] for text in texts]]
    with pytest.raises(ContaminationError, match="and 5 more") as e:
        run("infill", rows, decontamination={"max_share": 0.2})
    assert str(e.value).count(" is in train as ") == 20
