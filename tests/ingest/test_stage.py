from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multimodal.dataset import Dataset, Fate, read_ledger
from multimodal.errors import ConfigError, MediaError, SourceError
from multimodal.fingerprint import INDEX
from multimodal.ingest import ingest, plan_ingest, stage
from multimodal.ingest.options import CheckOptions, IngestOptions, SandboxOptions
from multimodal.ingest.sandbox import Media, Sandbox
from multimodal.sample import Modality, Split, Task, content_digest

ROOT = Path(__file__).parents[2]
REALDATA = ROOT.parent / "shared" / "realdata"


def options_of(*sources, **further):
    return IngestOptions(sources=[{"name": f"s{n}", **source} for n, source in enumerate(sources)], **further)


@pytest.fixture
def corpus(tmp_path, manifest, picture, sound):
    """Options of three sources with good rows, bad rows of many kinds, and duplicates."""
    media = {
        "a.jpg": picture(1),
        "b.png": picture(2, "PNG"),
        "copy.jpg": picture(1),
        "text.jpg": b"not a picture at all",
    }
    media |= {
        "cut.jpg": picture(3)[:400],
        "tiny.jpg": picture(4, size=(4, 4)),
        "a.wav": sound(1),
        "c.flac": sound(2, "FLAC"),
    }
    media |= {"silent.wav": sound(amplitude=0), "short.wav": sound(seconds=0.01), "cut.wav": sound(3)[:1000]}
    for name, data in media.items():
        (tmp_path / name).write_bytes(data)
    pictures = [["a.jpg", "one"], ["a.jpg", "two"], ["a.jpg", " one "], ["b.png", "three"], ["copy.jpg", "two"]]
    pictures += [
        ["text.jpg", "x"],
        ["cut.jpg", "x"],
        ["cut.jpg", "y"],
        ["tiny.jpg", "x"],
        ["no.jpg", "x"],
        ["b.png", ""],
    ]
    sounds = [["a.wav", "hello", "eve"], ["c.flac", "bye", "bob"]]
    sounds += [[name, "x", "bob"] for name in ("silent.wav", "short.wav", "cut.wav", "a.jpg")]
    texts = [["helo", "hello"], ["hell o", "hello"], ["", "hello"], ["helo", "hello"]]
    return options_of(
        {"path": manifest("pictures.csv", [["path", "text"], *pictures]), "task": "caption"},
        {"path": manifest("sounds.tsv", [["path", "text", "speaker"], *sounds]), "task": "transcribe"},
        {"path": manifest("texts.csv", [["input", "text"], *texts]), "task": "denoise"},
        {"path": manifest("texts.csv", [["input", "text"], *texts]), "task": "infill"},
    )


def test_every_row_has_one_fate(corpus, tmp_path):
    """Rows in = kept + quarantined + duplicate, in the ledger as in the counts, each with its right reason."""
    info = ingest(corpus, seed=0, workspace=tmp_path / "w")
    ledger = read_ledger(info.ledger)
    fates = {fate: [row for row in ledger if row.fate is fate] for fate in Fate}
    assert len(ledger) == info.counts.rows == 25
    assert [len(fates[fate]) for fate in Fate] == [info.counts.kept, info.counts.quarantined, info.counts.duplicate]
    assert (info.counts.kept, info.counts.quarantined, info.counts.duplicate) == (8, 11, 6)
    assert {f"{row.uri} {row.reason}" for row in fates[Fate.QUARANTINED]} == {
        "pictures.csv#6 wrong_format",
        "pictures.csv#7 truncated_image",
        "pictures.csv#8 truncated_image",
        "pictures.csv#9 too_small",
        "pictures.csv#10 missing_file",
        "pictures.csv#11 empty_text",
        "sounds.tsv#3 silent_audio",
        "sounds.tsv#4 too_short",
        "sounds.tsv#5 truncated_audio",
        "sounds.tsv#6 wrong_format",
        "texts.csv#3 missing_input",
    }
    assert sum(info.by_reason.values()) == 11
    assert info.by_reason["truncated_image"] == 2
    assert info.by_task == {"caption": 3, "transcribe": 2, "denoise": 2, "infill": 1}
    assert sum(info.by_split.values()) == 8


def test_duplicates_name_what_they_repeat(corpus, tmp_path):
    """A repeated pair, in other white space or in a copied file, points at the sample that was kept."""
    info = ingest(corpus, seed=0, workspace=tmp_path / "w")
    kept = {sample.sample_id for sample in Dataset(info.path).samples()}
    duplicates = read_ledger(info.ledger, Fate.DUPLICATE)
    assert {row.duplicate_of for row in duplicates} <= kept
    assert [row.uri for row in duplicates[:2]] == ["pictures.csv#3", "pictures.csv#5"]
    assert duplicates[1].detail == "same content and text as s0 pictures.csv#2"


def test_the_dataset_holds_each_content_once(corpus, tmp_path):
    """Two captions of one picture share its bytes; contents that no sample uses are not there."""
    dataset = Dataset(ingest(corpus, seed=0, workspace=tmp_path / "w").path)
    contents = {content.content_id: content for content in dataset.contents()}
    assert len(contents) == len(list(dataset.contents())) == 6
    for content in contents.values():
        assert content.content_id == content_digest(content.data)
    a = content_digest((tmp_path / "a.jpg").read_bytes())
    assert [sample.text for sample in dataset.samples() if sample.content_id == a] == ["one", "two"]
    assert contents[a].data == (tmp_path / "a.jpg").read_bytes()
    speakers = [sample.speaker for sample in dataset.samples(task=Task.TRANSCRIBE)]
    assert speakers == ["eve", "bob"]


def test_each_file_is_decoded_once(corpus, tmp_path, monkeypatch):
    """However many rows name a file, it is decoded once per modality (a.jpg is also, wrongly, named as a sound)."""
    read = []
    real = stage.read_ref
    monkeypatch.setattr(stage, "read_ref", lambda ref, checks: (read.append(ref), real(ref, checks))[1])
    ingest(corpus, seed=0, workspace=tmp_path / "w")
    assert (len(read), len(set(read))) == (13, 12)


def test_an_unchanged_ingest_returns_at_once(corpus, tmp_path):
    """The second run decodes nothing and gives the same; the plan says what would change."""
    workspace = tmp_path / "w"
    first = ingest(corpus, seed=0, workspace=workspace)
    calls = []
    assert ingest(corpus, seed=0, workspace=workspace, progress=lambda *at: calls.append(at)) == first
    assert calls == []
    before = plan_ingest(corpus, 0)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.jpg").read_bytes())
    after = plan_ingest(corpus, 0)
    assert {key for key in before if before[key] != after[key]} == {"inputs"}


def test_two_ingests_are_bit_identical(corpus, tmp_path):
    """Same sources, same bytes on disk, whatever the threads did."""
    infos = [ingest(corpus, seed=0, workspace=tmp_path / name) for name in ("w1", "w2")]
    for folder in ("path", "ledger"):
        first, second = (getattr(info, folder) for info in infos)
        names = sorted(path.name for path in first.iterdir())
        assert names == sorted(path.name for path in second.iterdir())
        assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_progress_ends_at_the_number_of_rows(corpus, tmp_path):
    """Progress is reported in rows and ends complete."""
    calls = []
    ingest(corpus, seed=0, workspace=tmp_path / "w", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (25, 25)


def test_splits_do_not_move_when_data_grows(tmp_path, manifest):
    """Rows before, between and after the old ones leave every old sample where it was."""
    rows = [[f"text number {n}"] for n in range(300)]
    more = [[f"further text {n}"] for n in range(100)]
    found = []
    for grown in (rows, more[:50] + rows[:150] + more[50:] + rows[150:]):
        path = manifest("m.csv", [["text"], *grown])
        dataset = Dataset(ingest(options_of({"path": path, "task": "infill"}), seed=0, workspace=tmp_path / "w").path)
        found.append({sample.sample_id: sample.split for sample in dataset.samples()})
    before, after = found
    assert set(before.values()) == set(Split)
    assert before == {key: after[key] for key in before}


def test_a_group_is_never_torn(tmp_path, manifest):
    """Samples of one group are all in one split."""
    path = manifest("m.csv", [["text", "group"], *[[f"text {n}", f"album {n % 40}"] for n in range(400)]])
    dataset = Dataset(ingest(options_of({"path": path, "task": "infill"}), seed=0, workspace=tmp_path / "w").path)
    pairs = {(sample.group, sample.split) for sample in dataset.samples()}
    assert len(pairs) == 40
    assert {split for _, split in pairs} == set(Split)


def test_the_flickr8k_layout_is_read_by_configuration(tmp_path, manifest, picture):
    """captions.txt (CSV), an Images folder, five captions a picture, and lists of names per split."""
    names = [f"{n}.jpg" for n in range(6)]
    (tmp_path / "Images").mkdir()
    for n, name in enumerate(names):
        (tmp_path / "Images" / name).write_bytes(picture(n))
    captions = [[name, f"caption {k}, of {name}"] for name in names for k in range(5)]
    source = {"path": manifest("captions.csv", [["image", "caption"], *captions]).rename(tmp_path / "captions.txt")}
    source |= {"columns": {"path": "image", "text": "caption"}, "media_root": tmp_path / "Images", "task": "caption"}
    (tmp_path / "train.txt").write_text("\n".join(names[:4]))
    (tmp_path / "dev.txt").write_text("\n".join(names[4:]))
    source |= {"split_files": {"train": tmp_path / "train.txt", "test": tmp_path / "dev.txt"}}
    info = ingest(options_of(source), seed=0, workspace=tmp_path / "w")
    assert info.by_split == {"train": 20, "test": 10}
    assert len(list(Dataset(info.path).contents(modality=Modality.IMAGE))) == 6


def test_a_bad_configuration_stops_before_any_work(tmp_path, manifest):
    """A missing source or column raises and leaves no workspace behind."""
    good = {"path": manifest("m.csv", [["text"], ["x"]]), "task": "infill"}
    with pytest.raises(SourceError):
        ingest(options_of(good, {"path": tmp_path / "no.csv", "task": "infill"}), seed=0, workspace=tmp_path / "w")
    with pytest.raises(ConfigError):
        ingest(options_of(good, {**good, "task": "denoise"}), seed=0, workspace=tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_names_that_are_no_utf8_do_not_stop_the_ingest(tmp_path, picture):
    """A file name of broken bytes is quarantined and shown escaped."""
    folder = tmp_path / "media"
    folder.mkdir()
    for name in (b"bad\xff.jpg", b"good.jpg"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(picture())
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.txt")).write_text("a caption")
    (folder / "good.txt").write_text("a caption")
    info = ingest(options_of({"path": folder, "task": "caption"}), seed=0, workspace=tmp_path / "w")
    (bad,) = read_ledger(info.ledger, Fate.QUARANTINED)
    assert (bad.reason, bad.uri) == ("invalid_utf8", "bad\\udcff.jpg")
    assert info.counts.kept == 1


def test_an_error_in_the_middle_leaves_nothing(corpus, tmp_path):
    """What was written before an exception vanishes; the next run starts clean and succeeds."""

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(corpus, seed=0, workspace=tmp_path / "w", progress=stop)
    assert not list((tmp_path / "w").rglob("*.parquet"))
    assert ingest(corpus, seed=0, workspace=tmp_path / "w").counts.kept == 8


KILLED = """
import sys, time
from pathlib import Path
from multimodal.ingest import ingest
from multimodal.ingest.options import CheckOptions, IngestOptions, SandboxOptions
from multimodal.ingest.sandbox import Media, Sandbox
options = IngestOptions.model_validate_json(sys.argv[1])
def wait(done, total):
    print(done, flush=True)
    time.sleep(60)
ingest(options, seed=0, workspace=Path(sys.argv[2]), progress=wait)
"""


def test_a_killed_ingest_leaves_no_index(corpus, tmp_path):
    """kill -9 in the middle: no finished folder is there, and a new run gives the undisturbed result."""
    workspace = tmp_path / "w"
    command = [sys.executable, "-c", KILLED, corpus.model_dump_json(), str(workspace)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not list(workspace.rglob(INDEX))
    after = ingest(corpus, seed=0, workspace=workspace)
    undisturbed = ingest(corpus, seed=0, workspace=tmp_path / "w2")
    assert after.digest == undisturbed.digest
    assert dataclasses.replace(after, path=undisturbed.path, ledger=undisturbed.ledger) == undisturbed


def test_an_absent_ledger_is_made_again(corpus, tmp_path):
    """A dataset counts as finished only together with its ledger."""
    info = ingest(corpus, seed=0, workspace=tmp_path / "w")
    shutil.rmtree(info.ledger)
    assert ingest(corpus, seed=0, workspace=tmp_path / "w") == info
    assert len(read_ledger(info.ledger)) == 25


@pytest.mark.skipif(not REALDATA.is_dir(), reason="the real data is not part of the product")
def test_real_layouts_are_read_by_configuration_alone(tmp_path):
    """The first rows of each real corpus: all kept or accounted for, official splits understood."""
    flickr, text = REALDATA / "flickr8k", REALDATA / "text"
    dev = {"split_values": {"dev": "test"}, "limit": 60}
    options = options_of(
        {
            "path": flickr / "captions.txt",
            "task": "caption",
            "columns": {"path": "image", "text": "caption"},
            "media_root": flickr / "Images",
            "split_files": {"train": flickr / "Flickr_8k.trainImages.txt", "test": flickr / "Flickr_8k.devImages.txt"},
            "limit": 100,
        },
        {"path": REALDATA / "fsdd/transcripts.tsv", "task": "transcribe", **dev},
        {"path": REALDATA / "grid/transcripts.tsv", "task": "transcribe", **dev},
        {"path": text / "disfl_qa.tsv", "task": "denoise", "columns": {"input": "noisy", "text": "clean"}, **dev},
        {
            "path": text / "onestop_pairs.tsv",
            "task": "restyle",
            "columns": {"input": "text_a", "text": "text_b", "style": "pair"},
            "limit": 60,
        },
        splits={"carve_val": 0.1},
    )
    info = ingest(options, seed=0, workspace=tmp_path / "w")
    assert info.counts.rows == 340
    assert info.counts.quarantined <= 3
    assert info.by_task["transcribe"] == 120
    assert all(sample.style == "ADV-ELE" for sample in Dataset(info.path).samples(task=Task.RESTYLE))


def test_ten_thousand_rows_take_seconds(tmp_path, manifest):
    """Text rows are cheap: far below a millisecond each."""
    path = manifest("m.csv", [["text"], *[[f"text number {n}"] for n in range(10_000)]])
    started = time.perf_counter()
    info = ingest(options_of({"path": path, "task": "infill"}), seed=0, workspace=tmp_path / "w")
    assert info.counts.kept == 10_000
    assert time.perf_counter() - started < 10


def test_refused_rows_let_go_of_what_they_held(tmp_path):
    """Errors wait in chunks of rows: with their traceback they would hold every text that was refused."""
    (tmp_path / "m.jsonl").write_text('{"text": "fine"}\n{"text": "' + "x" * 1000 + '"}\n')
    options = options_of({"path": tmp_path / "m.jsonl", "task": "infill"})
    readers = [stage.open_reader(source) for source in options.sources]
    error = list(stage._claims(readers, options.checks))[1].draft
    assert error.reason == "text_too_long"
    assert error.__traceback__ is None and error.__context__ is None


def test_refused_media_lets_go_of_what_it_held():
    """The errors of files are kept until the run ends."""

    def read():
        raise MediaError("too_large", "as ordered") from ValueError("x")

    with Sandbox(CheckOptions(), SandboxOptions(workers=1)) as sandbox:
        (error,) = sandbox.inspect([Media(read, Modality.IMAGE)])
    assert error.reason == "too_large"
    assert error.__traceback__ is None and error.__cause__ is None
