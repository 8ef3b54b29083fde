"""What is listed of a workspace's latents, and that only what nothing needs is removed."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from multimodal.errors import DatasetError
from multimodal.fingerprint import ABANDONED_SECONDS, INDEX, read_index, write_index
from multimodal.latents import LatentStore, LatentWriter
from multimodal.latents.locks import no_writers
from multimodal.sample import Modality
from multimodal.storage import Storage
from multimodal.upkeep import find_garbage, list_stores, remove_garbage
from multimodal.verification import verify
from tests.conftest import ROOT
from tests.small_workspace import ENCODER, HIDDEN, remember

pytest_plugins = ("tests.workspace_fixtures",)

OTHER = "fedcba9876543210"


def write(folder, ids, **options):
    with LatentWriter(folder, folder.name, HIDDEN, **options) as writer:
        for content_id in ids:
            writer.add(content_id, np.linspace(0, 1, 2 * HIDDEN).reshape(2, HIDDEN), np.ones(4))
    return folder


def age(*paths):
    for path in paths:
        os.utime(path, (time.time() - 2 * ABANDONED_SECONDS,) * 2)


def listed(workspace):
    return [(one.what, one.path.relative_to(workspace).as_posix()) for one in find_garbage(workspace).found]


@pytest.fixture
def store(made):
    return made.workspace / "latents" / ENCODER


def test_stores_are_listed_with_who_needs_them(made, store):
    """Encoder, storage, counts, bytes, bound, the dataset and the package that need it, and its last use."""
    write(made.workspace / "latents" / OTHER, ["a", "b"], storage=Storage.INT8)
    write_index(made.workspace / "packages" / "pack", {"parts": {"encoders": {"image": ENCODER}}})
    age(store / INDEX)
    first, second = list_stores(made.workspace)
    assert (first.encoder, first.named, first.storage) == (ENCODER, "image open_clip small", "float16")
    assert (first.contents, first.failed) == (2, 1)
    assert first.datasets == (made.dataset.path.name,) and first.packages == ("pack",)
    assert first.num_bytes == sum(path.stat().st_size for path in store.iterdir())
    assert first.error_bound.relative_l2 == 0 and not first.problem
    assert first.last_use == (made.workspace / "packages" / "pack" / INDEX).stat().st_mtime
    assert (second.storage, second.datasets, second.packages) == ("int8", (), ())
    assert 0 < second.error_bound.relative_l2 < 0.02


def test_a_damaged_store_is_listed_with_its_problem(made, store):
    """And nothing of it is ever removed by a guess."""
    next(store.glob("shard-*")).unlink()
    shutil.rmtree(made.dataset.path)
    (summary,) = list_stores(made.workspace)
    assert "missing or damaged" in summary.problem and summary.contents == 0
    assert "cannot be read" in remove_garbage(made.workspace).skipped[ENCODER]
    assert (store / INDEX).is_file()


def test_what_a_dataset_needs_is_no_garbage(made):
    """By what was encoded for it, and by its contents where the record of the stage is gone."""
    assert listed(made.workspace) == []
    shutil.rmtree(made.workspace / "stages")
    assert listed(made.workspace) == []


def test_an_empty_store_of_a_finished_stage_stays(made):
    """A dataset without sounds has a store of none: removing it would run the stage again."""
    write(made.workspace / "latents" / OTHER, [])
    parts = {"dataset": made.dataset.path.name, "encoders": {}}
    remember(made, "encode", parts, {"latents": [{"modality": "audio", "encoder_fingerprint": OTHER}]})
    assert listed(made.workspace) == []


def test_the_store_of_a_dataset_that_is_gone_is_removed(made, store):
    """With the record that says that the dataset is encoded; listing alone removes nothing."""
    shutil.rmtree(made.dataset.path)
    expected = listed(made.workspace)
    assert [what for what, _ in expected] == ["record", "store"] and store.is_dir()
    removed = remove_garbage(made.workspace)
    assert [(one.what, one.path.relative_to(made.workspace).as_posix()) for one in removed.found] == expected
    assert removed.num_bytes > 0 and not store.exists()
    assert not list(made.workspace.glob(f"stages/*/encode/*/{INDEX}"))
    assert list(made.workspace.glob(f"stages/*/ingest/*/{INDEX}"))


@pytest.mark.parametrize("place", ["packages/pack", "mlartifacts/models/m-1/artifacts/artifacts/pack"])
def test_the_store_of_a_model_package_stays(made, store, place):
    """Whole, though no dataset has its contents any more; only what no index names goes."""
    write_index(made.workspace / place, {"parts": {"encoders": {"image": ENCODER}}})
    shutil.rmtree(made.dataset.path)
    (store / "shard-00007-beef.arrow").write_bytes(b"unfinished")
    age(store / "shard-00007-beef.arrow")
    assert [one.what for one in remove_garbage(made.workspace).found] == ["unfinished shard"]
    assert len(LatentStore(store)) == 2


def test_shards_that_no_dataset_needs_are_removed(made, store):
    """The others stay, the index is whole, and its overall bound is that of what stays."""
    write(store, ["gone 1", "gone 2", *made.dataset.content_ids(Modality.IMAGE)[1:2]], contents_per_shard=2)
    kept = LatentStore(store)
    (idle,) = (name for name, ids in kept.shards.items() if ids == ["gone 1", "gone 2"])
    assert listed(made.workspace) == [("shard", f"latents/{ENCODER}/{idle}")]
    remove_garbage(made.workspace)
    after = LatentStore(store)
    assert set(after) == set(kept) - {"gone 1", "gone 2"} and not (store / idle).exists()
    assert set(after.failed) == set(kept.failed)
    (found,) = verify(store)
    assert found.is_intact and not found.notes
    assert listed(made.workspace) == []


def test_records_of_gone_datasets_go_with_their_shards(made, store):
    """Were the dataset made again, the encode stage must not be skipped as unchanged."""
    parts = {"dataset": "gone", "encoders": {}}
    remember(made, "encode", parts, {"latents": [{"modality": "image", "encoder_fingerprint": ENCODER}]})
    assert listed(made.workspace) == []  # as long as all shards stay, the record is true
    write(store, ["gone 1"])
    assert [what for what, _ in listed(made.workspace)] == ["record", "shard"]
    remove_garbage(made.workspace)
    records = [read_index(path.parent) for path in made.workspace.glob(f"stages/*/encode/*/{INDEX}")]
    assert [record["parts"]["dataset"] for record in records] == [made.dataset.path.name]


def test_what_killed_writers_left_is_removed(made, store):
    """Unfinished shards, temporary files and folders without an index, unless they are of this minute."""
    files = [store / "shard-00007-beef.arrow", store / f".{INDEX}.0a1b2c3d", store / ".shard-00008.arrow.0a1b2c3d"]
    for path in files:
        path.write_bytes(b"half")
    unfinished = made.workspace / "latents" / OTHER
    unfinished.mkdir()
    (unfinished / ".lock").touch()
    assert listed(made.workspace) == []
    age(*files, unfinished / ".lock")
    assert {what for what, _ in listed(made.workspace)} == {"unfinished shard", "leftover", "unfinished store"}
    remove_garbage(made.workspace)
    assert not any(path.exists() for path in (*files, unfinished))
    assert len(LatentStore(store)) == 2


def test_files_that_no_writer_made_stay(made, store):
    """A store with notes of a person in it is left alone, with or without an index."""
    shutil.rmtree(made.dataset.path)
    (store / "notes.txt").write_text("mine")
    found = remove_garbage(made.workspace)
    assert "notes.txt" in found.skipped[ENCODER] and not found.found
    (store / INDEX).unlink()
    age(store, *store.iterdir())
    assert "notes.txt" in remove_garbage(made.workspace).skipped[ENCODER]
    assert (store / "notes.txt").is_file()


@pytest.mark.parametrize("damage", ["bytes", "part"])
def test_a_dataset_that_cannot_be_read_stops_all(made, store, damage):
    """Nobody knows what it needs, so that nothing is removed."""
    (part,) = made.dataset.path.glob("part-*")
    if damage == "part":
        part.unlink()
    else:
        part.write_bytes(b"no Parquet")
    write(made.workspace / "latents" / OTHER, ["a"])
    for ask in (find_garbage, remove_garbage):
        with pytest.raises(DatasetError, match="nobody knows which latents it needs"):
            ask(made.workspace)
    assert len(LatentStore(store)) == 2 and len(LatentStore(made.workspace / "latents" / OTHER)) == 1


WRITING = """
import sys, time
from pathlib import Path
import numpy as np
from multimodal.latents import LatentWriter
with LatentWriter(Path(sys.argv[1]), "fedcba9876543210", 8) as writer:
    writer.add("a", np.ones((2, 8)), np.ones(4))
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_store_that_another_process_writes_is_never_touched(made):
    """Neither listed nor removed, though nothing needs it yet; once the process is killed, it may go."""
    folder = made.workspace / "latents" / OTHER
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(folder)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout.readline() == b"writing\n"
        for ask in (find_garbage, remove_garbage):
            found = ask(made.workspace)
            assert found.found == [] and found.skipped == {OTHER: "another process is writing to it"}
        assert list_stores(made.workspace)[1].being_written
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert [one.path for one in remove_garbage(made.workspace).found] == [folder]
    assert not folder.exists()


def test_a_writer_waits_for_a_removal_and_starts_anew(made):
    """A store that is removed while a writer waits for it is made again, whole."""
    folder = write(made.workspace / "latents" / OTHER, ["old"])
    writer = threading.Thread(target=write, args=(folder, ["new"]))
    with no_writers(folder) as alone:
        assert alone
        writer.start()
        writer.join(0.2)
        assert writer.is_alive()
        shutil.rmtree(folder)
    writer.join(10)
    assert set(LatentStore(folder)) == {"new"}
    with no_writers(made.workspace / "latents" / "nowhere") as alone:
        assert not alone


def test_a_removal_that_is_cut_short_leaves_whole_stores(made, store, monkeypatch):
    """The index forgets shards before their files go: what stays is read by nobody, and goes the next time."""
    write(store, ["gone 1"])

    def refuse(path, **_):
        raise PermissionError(path)

    with monkeypatch.context() as patch, pytest.raises(PermissionError):
        patch.setattr("pathlib.Path.unlink", refuse)
        remove_garbage(made.workspace)
    assert set(LatentStore(store)).isdisjoint({"gone 1"})
    (found,) = verify(store)
    assert found.is_intact and "never finished" in found.notes[0]
    age(*store.glob("shard-*"))
    assert [one.what for one in remove_garbage(made.workspace).found] == ["unfinished shard"]
    assert len(list(store.glob("shard-*"))) == 1
