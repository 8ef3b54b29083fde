"""Whatever is changed on disk is found and named, and what was not changed is not."""

import json

import pyarrow.parquet as pq
import pytest

from multimodal.errors import DatasetError
from multimodal.fingerprint import CHECKSUM, INDEX, file_digests, read_index, write_index, write_json
from multimodal.verification import verify

pytest_plugins = ("tests.workspace_fixtures",)


def differences(path):
    """All differences under a path, as (place, what)."""
    return [(one.place, one.what) for found in verify(path) for one in found.differences]


def flip(path, at):
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def rewrite(folder, change, name="part-00000.parquet"):
    """Change the rows of a part as one who covers the traces would: digests of files and checksum fit again."""
    table = pq.read_table(folder / name)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), folder / name)
    write_index(folder, read_index(folder) | {"files": file_digests(folder)})


def test_what_was_written_is_intact(ingested_once):
    """Every folder of the workspace is looked at, and nothing differs; all of it is covered by digests."""
    found = list(verify(ingested_once.workspace))
    assert {one.kind for one in found} == {"dataset", "ledger", "latents", "report", "stage"}
    assert all(one.is_intact and one.checked and not one.notes for one in found)


@pytest.mark.parametrize("at", [0, 0.5, -1], ids=["first", "middle", "last"])
@pytest.mark.parametrize(
    "name",
    [
        "dataset/*/part-*.parquet", "dataset/*/media-*.parquet", "dataset/*/index.json",
        "ledger/*/part-*.parquet", "ledger/*/index.json",
        "latents/*/shard-*.arrow", "latents/*/index.json",
        "reports/*/predictions.parquet", "reports/*/report.json", "reports/*/index.json",
        "stages/*/ingest/*/index.json",
    ],
)  # fmt: skip
def test_one_flipped_bit_is_named(made, name, at):
    """In the first, middle or last byte of every kind of file; no other folder is blamed."""
    (path,) = made.workspace.glob(name)
    flip(path, at if isinstance(at, int) else int(at * path.stat().st_size))
    found = [one for one in verify(made.workspace) if not one.is_intact]
    assert [one.path for one in found] == [path.parent]
    assert path.name in {difference.place for difference in found[0].differences}


def test_a_changed_content_is_named_by_its_id(made):
    """Two pictures that changed places, with digests that fit: each is found by its own bytes."""

    def swap(rows):
        rows[0]["data"], rows[1]["data"] = rows[1]["data"], rows[0]["data"]

    ids = pq.read_table(made.dataset.path / "media-00000.parquet")["content_id"].to_pylist()
    rewrite(made.dataset.path, swap, "media-00000.parquet")
    found = differences(made.dataset.path)
    assert len(found) == 2
    assert all(content_id in what and "other bytes" in what for content_id, (_, what) in zip(ids, found, strict=False))


def test_a_removed_sample_is_named(made):
    """The root is another one, the counts are, and the ledger knows which sample is gone."""
    gone = made.dataset.samples()[3].sample_id
    rewrite(made.dataset.path, lambda rows: rows.pop(3))
    found = differences(made.dataset.path)
    assert ("samples", f"sample {gone} was kept by the ledger, and is gone") in found
    assert any(place == "samples" and "Merkle root" in what for place, what in found)
    assert any(what.startswith("kept samples: ") for _, what in found)


def test_an_added_sample_is_named(made):
    """A sample that the ledger never kept, and one that is there twice."""
    new = {"sample_id": "f" * 32}
    rewrite(made.dataset.path, lambda rows: rows.extend([rows[0] | new, rows[1]]))
    found = differences(made.dataset.path)
    twice = made.dataset.samples()[1].sample_id
    assert ("samples", f"sample {'f' * 32} is not among the ledger's kept rows") in found
    assert any("is there twice" in what and twice in what for _, what in found)


def test_swapped_texts_are_named_by_both_rows(made):
    """Two samples that changed texts no longer give their ids."""

    def swap(rows):
        rows[0]["text"], rows[2]["text"] = rows[2]["text"], rows[0]["text"]

    rewrite(made.dataset.path, swap)
    rows = {place for place, what in differences(made.dataset.path) if "they give" in what}
    assert rows == {"part-00000.parquet row 1", "part-00000.parquet row 3"}


def test_another_order_is_no_other_content(made):
    """The Merkle root stays, the digest in order does not: the verdict says which."""
    rewrite(made.dataset.path, lambda rows: rows.reverse())
    assert differences(made.dataset.path) == [("samples", "are the same, in another order")]


def test_a_column_that_no_id_covers_is_covered_by_the_root(made):
    """A sample that was moved from test to train keeps its id; root and counts know."""
    rewrite(made.dataset.path, lambda rows: rows[2].update(split="train", split_origin="hash"))
    found = differences(made.dataset.path)
    assert {place for place, _ in found} == {INDEX, "samples"}
    assert any("Merkle root" in what for _, what in found)


def test_missing_and_additional_files_are_named(made):
    """A shard that is gone, and one that nobody wrote."""
    (made.dataset.path / "media-00000.parquet").rename(made.dataset.path / "media-00007.parquet")
    found = dict(differences(made.dataset.path))
    assert found["media-00000.parquet"] == "is missing"
    assert found["media-00007.parquet"] == "was not there when the folder was finished"


def test_a_lost_ledger_row_is_found(made):
    """Counts of the ledger no longer are those of its index, and the dataset misses the row."""
    rewrite(made.dataset.info.ledger, lambda rows: rows.pop(0))
    found = list(verify(made.workspace))
    by_kind = {one.kind: [difference.what for difference in one.differences] for one in found}
    assert any("counts" in what for what in by_kind["ledger"])
    assert any("not among the ledger's kept rows" in what for what in by_kind["dataset"])


def test_old_datasets_are_verified_by_what_they_have(made):
    """Without checksum, digests and root: notes say so, ids and the digest in order still find a changed row."""
    folder = made.dataset.path
    index = read_index(folder)
    write_json(
        folder / INDEX, {name: value for name, value in index.items() if name not in ("merkle", "files", CHECKSUM)}
    )
    (found,) = verify(folder)
    assert found.is_intact and len(found.notes) == 3
    table = pq.read_table(folder / "part-00000.parquet")
    rows = [row | {"speaker": "somebody else"} for row in table.to_pylist()]
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), folder / "part-00000.parquet")
    assert [place for place, _ in differences(folder)] == ["samples"]


def test_a_folder_that_was_moved_is_recognised(made, tmp_path):
    """A dataset under any name is verified, without its name and ledger; a folder of nothing known is refused."""
    moved = made.dataset.path.rename(tmp_path / "moved")
    (found,) = verify(moved)
    assert found.kind == "dataset" and found.is_intact
    assert any("its ledger is not at" in note for note in found.notes)
    with pytest.raises(DatasetError, match="nothing to verify"):
        list(verify(tmp_path / "nowhere"))
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / INDEX).write_text(json.dumps({"cheese": 1}))
    with pytest.raises(DatasetError, match="no known kind"):
        list(verify(tmp_path / "odd"))
