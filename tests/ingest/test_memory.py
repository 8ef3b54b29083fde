"""What an ingest remembers: unchanged files are neither hashed nor decoded again, and killing it loses nothing."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multimodal import media_parts
from multimodal.dataset import Dataset
from multimodal.errors import DatasetError
from multimodal.fingerprint import file_digest
from multimodal.ingest import digests as digests_module
from multimodal.ingest import ingest, memory, plan_ingest, stage
from multimodal.ingest.duplicates.options import DuplicateOptions
from multimodal.ingest.memory import MEMORY, FileState, IngestMemory, checks_key
from multimodal.ingest.options import CheckOptions, IngestOptions
from multimodal.ingest.reasons import Reason
from multimodal.ingest.sandbox import Sandbox
from multimodal.sample import Modality

PICTURES = 6

RUN = """
import sys
from pathlib import Path
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
ingest(IngestOptions.model_validate_json(sys.argv[1]), seed=0, workspace=Path(sys.argv[2]))
"""


@pytest.fixture
def corpus(tmp_path, picture, manifest):
    """Some pictures, one of them broken, and two captions of the first."""
    for number in range(PICTURES):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number))
    (tmp_path / "cut.jpg").write_bytes(picture(0)[:200])
    captions = [[f"{number}.jpg", f"picture {number}"] for number in range(PICTURES)]
    return manifest("m.csv", [["path", "text"], *captions, ["0.jpg", "the first one"], ["cut.jpg", "half of it"]])


@pytest.fixture
def decoded(monkeypatch):
    """The content ids that reached a decoder, in a list."""
    seen, decode = [], Sandbox._decode

    def watched(self, files):
        seen.extend(file.content_id for file in files)
        return decode(self, files)

    monkeypatch.setattr(Sandbox, "_decode", watched)
    return seen


@pytest.fixture
def hashed(monkeypatch):
    """The files that were read to be hashed; every file counts as settled."""
    seen, digest_of = [], digests_module.digest_of

    def watched(file):
        seen.append(Path(file).name)
        return digest_of(file)

    monkeypatch.setattr(digests_module, "digest_of", watched)
    monkeypatch.setattr(memory, "RACY_NS", -(10**12))
    return seen


def options_of(path, **checks):
    source = {"name": "m", "path": path, "task": "caption"}
    return IngestOptions.model_validate({"sources": [source], "checks": checks, "sandbox": {"workers": 1}})


def append(path, line):
    with path.open("a") as file:
        file.write(f"{line}\n")


def test_only_new_content_is_decoded(corpus, decoded, picture, tmp_path):
    """A changed caption decodes nothing, a new file itself only, a copy under another name nothing."""
    workspace = tmp_path / "w"
    first = ingest(options_of(corpus), seed=0, workspace=workspace)
    assert len(decoded) == len(set(decoded)) == PICTURES + 1
    decoded.clear()
    append(corpus, "1.jpg,another caption")
    grown = ingest(options_of(corpus), seed=0, workspace=workspace)
    assert decoded == []
    assert grown.counts.kept == first.counts.kept + 1
    assert grown.by_reason == first.by_reason == {"truncated_image": 1}
    (tmp_path / "new.jpg").write_bytes(picture(99))
    (tmp_path / "copy.jpg").write_bytes(picture(2))
    append(corpus, "new.jpg,a new picture")
    append(corpus, "copy.jpg,an old one")
    ingest(options_of(corpus), seed=0, workspace=workspace)
    assert len(decoded) == 1


def test_of_unchanged_media_nothing_is_read(corpus, hashed, picture, monkeypatch, tmp_path):
    """One file of many has changed: it is read, and what shares its part of the dataset; nothing else is."""
    monkeypatch.setattr(media_parts, "CONTENTS_PER_PART", 1)
    read, read_ref = [], stage.read_ref
    monkeypatch.setattr(stage, "read_ref", lambda ref, checks: read.append(ref.name) or read_ref(ref, checks))
    ingest(options_of(corpus), seed=0, workspace=tmp_path / "w")
    assert len(read) == PICTURES + 1
    read.clear()
    (tmp_path / "2.jpg").write_bytes(picture(99))
    info = ingest(options_of(corpus), seed=0, workspace=tmp_path / "w")
    assert read == ["2.jpg"]
    alone = ingest(options_of(corpus), seed=0, workspace=tmp_path / "alone")
    assert contents_of(info.path) == contents_of(alone.path)


def test_what_it_remembers_makes_no_difference(corpus, tmp_path):
    """The dataset is the same, byte for byte, whether its media were decoded in this run or before."""
    ingest(options_of(corpus), seed=0, workspace=tmp_path / "grown")
    append(corpus, "1.jpg,another caption")
    fresh = ingest(options_of(corpus), seed=0, workspace=tmp_path / "fresh")
    grown = ingest(options_of(corpus), seed=0, workspace=tmp_path / "grown")
    assert contents_of(grown.path) == contents_of(fresh.path)


def test_other_checks_decode_again_and_checks_of_texts_do_not(corpus, decoded, tmp_path):
    """What a picture must keep is part of what is remembered of it."""
    workspace = tmp_path / "w"
    ingest(options_of(corpus), seed=0, workspace=workspace)
    decoded.clear()
    ingest(options_of(corpus, max_text_chars=50), seed=0, workspace=workspace)
    assert decoded == []
    refused = ingest(options_of(corpus, min_image_pixels=33 * 33), seed=0, workspace=workspace)
    assert len(decoded) == PICTURES + 1
    assert refused.by_reason["too_small"] == PICTURES + 1


def test_removed_content_leaves_and_changed_captions_touch_their_row_only(corpus, tmp_path):
    """The next dataset holds what the source holds now; all other samples keep their ids and splits."""
    workspace = tmp_path / "w"
    before = {
        sample.uri: sample for sample in Dataset(ingest(options_of(corpus), seed=0, workspace=workspace).path).samples()
    }
    corpus.write_text(corpus.read_text().replace("picture 3", "changed").replace("5.jpg,picture 5\n", ""))
    dataset = Dataset(ingest(options_of(corpus), seed=0, workspace=workspace).path)
    after = {sample.text: sample for sample in dataset.samples()}
    assert "picture 5" not in after
    assert len(list(dataset.contents())) == PICTURES - 1
    old = {sample.text: (sample.sample_id, sample.split) for sample in before.values()}
    same = after.keys() & old.keys()
    assert len(same) == PICTURES - 1
    assert {text: (after[text].sample_id, after[text].split) for text in same} == {text: old[text] for text in same}
    assert after["changed"].content_id == before["m.csv#4"].content_id


def test_unchanged_files_are_not_read_to_know_them(corpus, hashed, picture, tmp_path):
    """Second plan: stats only. A file changed under the same size and time is found out by its change time."""
    workspace = tmp_path / "w"
    workspace.mkdir()
    first = plan_ingest(options_of(corpus), 0, workspace)
    assert len(hashed) == PICTURES + 2  # the manifest too
    hashed.clear()
    assert plan_ingest(options_of(corpus), 0, workspace) == first
    assert hashed == []
    path = tmp_path / "4.jpg"
    times, data = path.stat(), bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert plan_ingest(options_of(corpus), 0, workspace) != first
    assert hashed == ["4.jpg"]
    assert plan_ingest(options_of(corpus), 0, workspace) == plan_ingest(options_of(corpus), 0)


def test_a_file_that_has_just_changed_is_read_again(tmp_path):
    """Its times may hide a second change within the same tick."""
    path = tmp_path / "a"
    path.write_bytes(b"x")
    state = FileState.of(path)
    assert not state.is_settled
    with IngestMemory.open(tmp_path) as remembered:
        remembered.keep_digests({state: "0" * 64})
        assert remembered.digests([state]) == {}
    assert FileState.of(tmp_path) is None
    assert FileState.of(tmp_path / "no") is None


def test_what_counts_is_when_the_file_was_looked_at():
    """Hashing may take longer than a tick of the clock: a change within the tick of the stat may still be hidden."""
    changed = time.time_ns() - 10 * memory.RACY_NS
    assert not FileState(b"a", 1, changed, changed, 1, seen=changed + memory.RACY_NS // 2).is_settled
    assert FileState(b"a", 1, changed, changed, 1, seen=changed + 2 * memory.RACY_NS).is_settled


def test_what_the_moment_was_to_blame_for_is_forgotten(tmp_path):
    """A picture that took too long is tried again the next time; one that is broken stays so."""
    key = checks_key(CheckOptions())
    keys = [(f"{number:032d}", Modality.IMAGE) for number in range(2)]
    answers = [{"reason": reason, "detail": "d"} for reason in (Reason.DECODER_TIMEOUT, Reason.TRUNCATED_IMAGE)]
    with IngestMemory.open(tmp_path) as remembered:
        remembered.keep_answers(key, dict(zip(keys, answers, strict=True)))
        assert remembered.answers(key, keys) == {keys[1]: answers[1]}
        assert remembered.answers(checks_key(CheckOptions(max_frames=1)), keys) == {}


@pytest.mark.parametrize("damage", [b"no database", b""], ids=["another file", "an empty file"])
def test_a_damaged_memory_is_begun_anew(corpus, decoded, tmp_path, damage):
    """It costs time, not the run."""
    workspace = tmp_path / "w"
    expected = ingest(options_of(corpus), seed=0, workspace=workspace)
    (workspace / MEMORY).write_bytes(damage * 1000)
    append(corpus, "1.jpg,another caption")
    decoded.clear()
    assert ingest(options_of(corpus), seed=0, workspace=workspace).counts.kept == expected.counts.kept + 1
    assert len(decoded) == PICTURES + 1


def start(options, workspace):
    return subprocess.Popen([sys.executable, "-c", RUN, options.model_dump_json(), str(workspace)])


def contents_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def many_pictures(tmp_path, picture, manifest, count):
    rows = [[f"{number}.jpg", f"picture {number}"] for number in range(count)]
    for name, _ in rows:
        (tmp_path / name).write_bytes(picture(int(name.split(".")[0])))
    return options_of(manifest("many.csv", [["path", "text"], *rows]))


def test_two_at_once_leave_one_whole_dataset(tmp_path, picture, manifest):
    """Two processes ingest the same source into the same workspace at the same moment."""
    options = many_pictures(tmp_path, picture, manifest, 300)
    both = [start(options, tmp_path / "w") for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    expected = ingest(options, seed=0, workspace=tmp_path / "alone")
    found = ingest(options, seed=0, workspace=tmp_path / "w")
    assert contents_of(found.path) == contents_of(expected.path)
    assert contents_of(found.ledger) == contents_of(expected.ledger)
    assert [path.name for path in (tmp_path / "w" / "dataset").iterdir()] == [found.path.name]


@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_ends_with_the_same_dataset(tmp_path, picture, manifest, kills):
    """kill -9 at random moments, from the first import to the last rename: what is left is bit-identical."""
    options = many_pictures(tmp_path, picture, manifest, 1500)
    began = time.monotonic()
    assert start(options, tmp_path / "alone").wait(300) == 0
    whole = time.monotonic() - began
    undisturbed = ingest(options, seed=0, workspace=tmp_path / "alone")
    moments = random.Random(0)
    for _ in range(kills):
        process = start(options, tmp_path / "w")
        time.sleep(moments.uniform(0.1, 1) * whole)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    found = ingest(options, seed=0, workspace=tmp_path / "w")
    assert contents_of(found.path) == contents_of(undisturbed.path)
    assert contents_of(found.ledger) == contents_of(undisturbed.ledger)


@pytest.fixture
def change_after_plan(monkeypatch, picture, tmp_path):
    """Makes all pictures others, or removes them, between their hashing and their decoding."""

    def prepare(change):
        plan = stage._plan

        def and_then_change(*args):
            found = plan(*args)
            for number in range(PICTURES):
                path = tmp_path / f"{number}.jpg"
                path.write_bytes(picture(number + 50)) if change == "other" else path.unlink()
            return found

        monkeypatch.setattr(stage, "_plan", and_then_change)

    return prepare


@pytest.mark.parametrize("change", ["other", "gone"])
def test_a_file_that_changes_while_it_is_ingested_stops_the_run(corpus, change_after_plan, tmp_path, change):
    """Else a dataset would stand under the fingerprint of files that it does not hold."""
    change_after_plan(change)
    with pytest.raises(DatasetError, match="ingest again"):
        ingest(options_of(corpus), seed=0, workspace=tmp_path / "w")


@pytest.mark.parametrize("change", ["other", "gone"])
def test_known_contents_come_from_the_earlier_dataset(corpus, change_after_plan, tmp_path, change):
    """They are not read, so that it does not matter what becomes of their files once they are hashed."""
    first = ingest(options_of(corpus), seed=0, workspace=tmp_path / "w")
    append(corpus, "1.jpg,another caption")
    change_after_plan(change)
    second = ingest(options_of(corpus), seed=0, workspace=tmp_path / "w")
    assert set(Dataset(second.path).contents()) == set(Dataset(first.path).contents())


def test_a_manifest_that_changes_while_it_is_ingested_stops_the_run(corpus, monkeypatch, tmp_path):
    """Its rows were counted and hashed before they were read."""
    add = stage._Intake.add

    def and_then_change(self, chunk):
        add(self, chunk)
        corpus.write_text(corpus.read_text().replace("picture 3", "PICTURE 3"))

    monkeypatch.setattr(stage._Intake, "add", and_then_change)
    with pytest.raises(DatasetError, match=r"m.csv changed while it was ingested; ingest again"):
        ingest(options_of(corpus), seed=0, workspace=tmp_path / "w")


@pytest.mark.parametrize("name", [MEMORY, "duplicates.db"])
def test_torn_pages_cost_time_only(corpus, tmp_path, name):
    """A database whose inside is torn is begun anew, as one that is none."""
    options = options_of(corpus).model_copy(update={"duplicates": DuplicateOptions(pictures="flag")})
    first = ingest(options, seed=0, workspace=tmp_path / "w")
    for path in (tmp_path / "w").glob(f"{name}-*"):
        path.unlink()
    file = tmp_path / "w" / name
    data = bytearray(file.read_bytes())
    data[4096 + 8 : 3 * 4096] = bytes(2 * 4096 - 8)
    file.write_bytes(data)
    append(corpus, "1.jpg,another caption")
    assert ingest(options, seed=0, workspace=tmp_path / "w").counts.kept == first.counts.kept + 1


def test_parts_of_media_are_taken_over_unread_unless_they_changed(corpus, monkeypatch, tmp_path):
    """A later dataset shares them by their stat; a part that lost something since is hashed, and written anew."""
    hashed = []
    monkeypatch.setattr(media_parts, "file_digest", lambda path: hashed.append(path.name) or file_digest(path))
    workspace = tmp_path / "w"
    ingest(options_of(corpus), seed=0, workspace=workspace)
    second = ingest(options_of(corpus), seed=1, workspace=workspace)
    assert not hashed
    part = next(second.path.glob("media-*.parquet"))
    assert part.stat().st_nlink == 2
    part.write_bytes(part.read_bytes()[::-1])
    third = ingest(options_of(corpus), seed=2, workspace=workspace)
    assert hashed and len(list(Dataset(third.path).contents())) == PICTURES
