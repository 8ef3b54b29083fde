"""`multimodal latents ls`, `verify` and `gc` on a workspace on disk: no server, no encoder."""

import json
import shutil

from typer.testing import CliRunner

from flows.cli import app
from multimodal.errors import DatasetError
from tests.small_workspace import ENCODER

pytest_plugins = ("tests.workspace_fixtures",)


def latents(*arguments):
    return CliRunner().invoke(app, ["latents", *(str(argument) for argument in arguments)])


def test_stores_are_listed(ingested_once):
    """As a table, and as JSON for programs."""
    shown = latents("ls", "--workspace", ingested_once.workspace)
    assert shown.exit_code == 0 and "float16" in shown.stdout
    assert f"dataset {ingested_once.dataset.path.name[:8]}" in " ".join(shown.stdout.split())
    (store,) = json.loads(latents("ls", "--workspace", ingested_once.workspace, "--json").stdout)
    assert store["encoder"] == ENCODER and store["contents"] == 2 and store["error_bound"]["relative_l2"] == 0
    assert store["datasets"] == [ingested_once.dataset.path.name]


def test_no_latents_and_no_workspace(tmp_path):
    """An empty workspace is said to be one; a workspace that is not there is an error of one line, and is not made."""
    shown = latents("ls", "--workspace", tmp_path)
    assert shown.exit_code == 0 and "no latents" in shown.stdout
    assert "nothing to remove" in latents("gc", "--workspace", tmp_path).stdout
    for command in ("ls", "verify", "gc"):
        refused = latents(command, "--workspace", tmp_path / "none")
        assert isinstance(refused.exception, DatasetError) and "no workspace at" in str(refused.exception)
    assert not (tmp_path / "none").exists()


def test_verify_names_each_difference_and_exits_with_1(made):
    """Intact: 0. One flipped bit: 1, with the shard's name; by the beginning of a fingerprint, and as JSON."""
    assert latents("verify", "--workspace", made.workspace).exit_code == 0
    (shard,) = (made.workspace / "latents" / ENCODER).glob("shard-*")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    damaged = latents("verify", ENCODER[:6], "--workspace", made.workspace)
    assert damaged.exit_code == 1
    assert f"latents {ENCODER}: {shard.name}: SHA-256" in damaged.stdout
    (found,) = json.loads(latents("verify", "--workspace", made.workspace, "--json").stdout)
    assert found["intact"] is False and found["differences"][0]["place"] == shard.name
    refused = latents("verify", "beef", "--workspace", made.workspace)
    assert isinstance(refused.exception, DatasetError) and f"there are {ENCODER}" in str(refused.exception)


def test_gc_lists_first_and_removes_with_yes(made):
    """Nothing is removed without --yes; what a dataset needs never."""
    assert "nothing to remove" in latents("gc", "--yes", "--workspace", made.workspace).stdout
    shutil.rmtree(made.dataset.path)
    asked = latents("gc", "--workspace", made.workspace)
    assert asked.exit_code == 0 and "Would be removed" in asked.stdout and "--yes" in asked.stdout
    found = json.loads(latents("gc", "--json", "--workspace", made.workspace).stdout)
    assert found["removed"] is False and [one["what"] for one in found["found"]] == ["record", "store"]
    assert (made.workspace / "latents" / ENCODER).is_dir()
    done = latents("gc", "--yes", "--workspace", made.workspace)
    assert done.exit_code == 0 and "Removed" in done.stdout
    assert not (made.workspace / "latents" / ENCODER).exists()
