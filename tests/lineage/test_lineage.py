"""The life of a row, from its source to what a model wrote for it."""

import dataclasses
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multimodal.dataset import Fate
from multimodal.errors import RequestError
from multimodal.lineage import find_row, life_of
from tests.small_workspace import ENCODER, HIDDEN, TOKENS

pytest_plugins = ("tests.workspace_fixtures",)


def life(made, query):
    return life_of(made.dataset, find_row(made.dataset, query))


def test_a_sample_is_found_by_the_beginning_of_its_id(ingested_once):
    """Its kept row, although a duplicate bears the same id; an ambiguous beginning names the candidates."""
    sample = ingested_once.sample("one")
    row = find_row(ingested_once.dataset, sample.sample_id[:12])
    assert (row.fate, row.uri) == (Fate.KEPT, "pictures.csv#1")
    ids = sorted(sample.sample_id for sample in ingested_once.dataset.samples())
    first = next(one[0] for one, other in pairwise(ids) if one[0] == other[0])
    with pytest.raises(RequestError, match=f"'{first}' is .* rows, name one") as refusal:
        find_row(ingested_once.dataset, first)
    assert all(each in str(refusal.value) for each in [one for one in ids if one.startswith(first)][:6])


def test_rows_are_found_by_uri_and_by_file(ingested_once):
    """A URI, with its source or without; a media file on disk or by the name that the source has for it."""
    dataset = ingested_once.dataset
    for query in ("pictures.csv#6", "pictures pictures.csv#6", "pictures:pictures.csv#6", "cut.jpg"):
        assert find_row(dataset, query).uri == "pictures.csv#6"
    assert find_row(dataset, str(ingested_once.root / "media" / "c.png")).uri == "pictures.csv#4"
    with pytest.raises(RequestError, match="is 3 rows"):
        find_row(dataset, "a.png")


def test_an_unknown_id_names_the_nearest(ingested_once):
    """One wrong letter in an id or in a URI leads to the right one."""
    sample = ingested_once.sample("one")
    wrong = sample.sample_id[:-1] + ("0" if sample.sample_id[-1] != "0" else "1")
    with pytest.raises(RequestError, match=sample.sample_id):
        find_row(ingested_once.dataset, wrong)
    with pytest.raises(RequestError, match=r"pictures\.csv#1"):
        find_row(ingested_once.dataset, "pictuers.csv#1")


def test_the_life_of_a_kept_sample(ingested_once):
    """Source, text, content, split with its reason, latents with their shape, prediction, score and version."""
    sample = ingested_once.sample("three")
    found = life(ingested_once, sample.sample_id)
    assert found.sample == sample and found.row.uri == "pictures.csv#3"
    assert found.source.endswith("pictures.csv, for caption")
    assert (sample.split, found.split_origin, found.group) == ("test", "given by the source", {"test": 1})
    assert found.contents[0].startswith(f"{sample.content_id}, image (PNG) of ")
    (written,) = found.written
    assert (written.hypothesis, written.metric, written.score, written.task_score) == ("a tree", "bleu_4", 0.25, 0.5)
    assert (written.versions, written.checkpoint) == (("tiny version 7",), "abc/step-000010")


def test_latents_are_told_with_shape_and_size_or_with_what_went_wrong(ingested_once):
    """Two pictures are in the store of the one encoder, a third could not be encoded."""
    stored = [one for number in (1, 3, 4) for one in life(ingested_once, f"pictures.csv#{number}").latents]
    assert {(one.encoder, one.named) for one in stored} == {(ENCODER, "image open_clip small")}
    shapes = sorted((one.tokens, one.hidden_size, one.num_bytes, one.problem) for one in stored)
    there = (TOKENS, HIDDEN, 2 * TOKENS * HIDDEN + 4 * 4, "")
    assert shapes == [(0, 0, 0, "cannot be encoded: odd pixels"), there, there]


def test_duplicates_know_each_other(ingested_once):
    """A kept sample names the rows that repeat it; a duplicate's life is that of the sample that it repeats."""
    kept, repeats = life(ingested_once, "pictures.csv#1"), life(ingested_once, "pictures.csv#5")
    assert [row.uri for row in kept.repeated_by] == ["pictures.csv#5"]
    assert repeats.row.fate is Fate.DUPLICATE and repeats.sample == kept.sample
    assert kept.same_content == (ingested_once.sample("two").sample_id,)


def test_a_quarantined_row_has_a_life_too(ingested_once):
    """No sample, but the source and its media, for as long as they are there."""
    found = life(ingested_once, "pictures.csv#6")
    assert (found.sample, found.row.reason, found.media) == (None, "truncated_image", "cut.jpg")


def test_a_split_by_hash_says_so(ingested_once):
    """Texts without a given split are split by their group, and the life says by which."""
    found = life(ingested_once, "texts.csv#1")
    assert found.split_origin == f"no source gives one; by the hash of its group '{found.sample.group}'"
    assert not found.latents and not found.written


def test_an_old_dataset_does_not_say_what_it_does_not_know(made):
    """Without the column, the split's origin is not noted; what the hash gives is named as that."""
    path = made.dataset.path / "part-00000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["split_origin"]), path)
    found = life(made, "texts.csv#1")
    expected = f"not noted by the version that wrote this dataset; the hash of its group gives {found.sample.split}"
    assert found.split_origin == expected


def test_tables_beside_the_ledger_are_read(made):
    """What other tables say of the sample, by its id or its content; a cluster names its other members."""
    sample, ledger = made.sample("three"), made.dataset.info.ledger
    flag = {"sample_id": [sample.sample_id, "other"], "feature": ["pixels", "pixels"], "z": [9.5, 1.0]}
    pq.write_table(pa.table(flag), ledger / "flags-00000.parquet")
    clusters = {"content_id": [sample.content_id, "near", "far"], "cluster": ["c1", "c1", "c2"]}
    pq.write_table(pa.table(clusters), ledger / "clusters-00000.parquet")
    found = life(made, "pictures.csv#3")
    assert found.notes == ("flags: feature pixels, z 9.5",)
    assert found.clusters == ("near",)


def test_columns_beside_the_samples_are_told(made):
    """A column that is no field of a sample, such as its original text, is part of its life."""
    path = made.dataset.path / "part-00000.parquet"
    table = pq.read_table(path)
    original = ["Thr\u00e9e \n" if text == "three" else "" for text in table["text"].to_pylist()]
    pq.write_table(table.append_column("original", pa.array(original)), path)
    assert life(made, "pictures.csv#3").further == {"original": "Thr\u00e9e \n"}
    assert life(made, "pictures.csv#1").further == {}


def test_a_caption_that_was_one_of_several_right_answers_is_told_so(made):
    """Captions of one picture are one question: its text is found under the id of the first."""
    (path,) = made.workspace.glob("reports/*/predictions.parquet")
    sample, table = made.sample("three"), pq.read_table(path)
    rows = [row | {"sample_id": "e" * 32, "references": ["3", "three"]} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    (written,) = life(made, sample.sample_id).written
    assert written.asked_as == "e" * 32
    rows = [row | {"references": ["3"]} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    assert life(made, sample.sample_id).written == ()


def test_a_life_is_plain_values(ingested_once):
    """So that it can be printed as JSON."""
    assert dataclasses.asdict(life(ingested_once, "pictures.csv#1"))["row"]["uri"] == "pictures.csv#1"
