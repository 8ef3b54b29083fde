from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multimodal.fingerprint import (
    INDEX,
    code_version,
    digest,
    explain_change,
    file_digest,
    fingerprint,
    new_folder,
    read_index,
    write_file,
    write_json,
)


def finished(stage, name, parts):
    write_json(stage / name / INDEX, {"parts": parts})
    return stage / name


def test_a_fingerprint_is_of_values_not_of_order():
    """Keys in another order are the same parts; any other value is another fingerprint."""
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1, "b": [1, 2]}) != fingerprint({"a": 1, "b": [2, 1]})
    assert len(fingerprint({})) == 16


def test_fingerprints_are_pinned():
    """Folders in the world are named by these: the definition never changes."""
    assert digest({"a": 1, "b": "x"}) == "ce5c626fb40307427cf323b5c307a3ea230856fa4bad676eaaa2577b5a857a85"


def test_a_file_digest_is_sha256(tmp_path):
    """The digest of an empty file is that of SHA-256's definition."""
    (tmp_path / "empty").touch()
    assert file_digest(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_code_versions_differ_by_part():
    """Each part of the library has a version of its own, and naming it twice changes nothing."""
    assert code_version("ingest") == code_version("ingest")
    assert code_version("ingest") != code_version("sample.py")


def test_a_folder_without_an_index_is_not_there(tmp_path):
    """An index is all that makes a result exist."""
    (tmp_path / "part-0.parquet").touch()
    assert read_index(tmp_path) is None
    write_json(tmp_path / INDEX, {"a": 1})
    assert read_index(tmp_path) == {"a": 1}


def test_a_change_is_explained_by_name(tmp_path):
    """The parts that differ from the newest result are named with both values."""
    assert explain_change({}, tmp_path) == "no earlier result"
    old = finished(tmp_path, "old", {"seed": 1, "options": {"lr": 0.1}})
    new = finished(tmp_path, "new", {"seed": 0, "options": {"lr": 0.1}})
    os.utime(old / INDEX, (1, 1))
    os.utime(new / INDEX, (2, 2))
    assert explain_change({"seed": 0, "options": {"lr": 0.2}}, tmp_path) == "changed: options.lr 0.1 -> 0.2"
    assert explain_change({"seed": 0, "options": {"lr": 0.1}}, tmp_path) == "result missing"


def test_paths_in_parts_do_not_count_as_changes(tmp_path):
    """Parts are compared as they are stored: a path equals its text."""
    finished(tmp_path, "fp", {"path": Path("a/b")})
    assert explain_change({"path": Path("a/b")}, tmp_path) == "result missing"


def test_a_written_file_replaces_the_old_one_wholly(tmp_path):
    """The new bytes take the old ones' place, with no temporary file left."""
    for data in (b"old", b"new"):
        write_file(tmp_path / "sub" / "f", data)
    assert (tmp_path / "sub" / "f").read_bytes() == b"new"
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["f"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    """What cannot be written leaves no trace and does not touch what was there."""
    write_file(tmp_path / "f", b"old")
    with pytest.raises(TypeError):
        write_file(tmp_path / "f", "text")  # type: ignore[arg-type]
    assert (tmp_path / "f").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_new_folder_appears_only_when_its_block_ends_well(tmp_path):
    """An error leaves nothing; success replaces what was there before."""
    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), new_folder(folder) as temporary:
        (temporary / "a").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    for name in ("a", "b"):
        with new_folder(folder) as temporary:
            (temporary / name).touch()
            assert not (folder / name).exists()
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path):
    """A temporary folder belongs to the process that locked it: when that is gone, the next one clears it away."""
    code = (
        "import sys, os, pathlib; from multimodal.fingerprint import new_folder\n"
        "with new_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('x'); print(folder.name, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    left = tmp_path / process.stdout.readline().strip()
    day_ago = time.time() - 86_400
    os.utime(left, (day_ago, day_ago))
    with new_folder(tmp_path / "b"):
        assert (left / "half").exists()
    process.kill()
    process.communicate()
    with new_folder(tmp_path / "c"):
        assert not left.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]
