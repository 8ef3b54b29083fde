"""Rows that wait on disk come back as they were, in order and by number, and leave nothing behind."""

import os
from pathlib import Path

from multimodal.dataset import Dataset, read_ledger
from multimodal.ingest import ingest
from multimodal.ingest.drafts import Draft
from multimodal.ingest.options import IngestOptions
from multimodal.ingest.waiting import ROWS_PER_WRITE, KeptRows, WaitingRows
from multimodal.sample import Split, Task, content_digest


def draft(number, official=None):
    return Draft(
        uri=f"m.csv#{number}", source="s", task=Task.CAPTION, text=f"text {number}\u2028", input="", style="",
        speaker="", attributes='{"a": 1}', group="g", official=official, content_id=content_digest(b"x"),
    )  # fmt: skip


def test_rows_come_back_in_order_and_by_number(tmp_path):
    """Written or still in memory; None stays None."""
    rows = WaitingRows(tmp_path, 2)
    wanted = [(f"row {number}", None if number % 2 else "") for number in range(ROWS_PER_WRITE + 3)]
    for row in wanted:
        rows.add(row)
    assert len(rows) == len(wanted) and list(rows) == wanted
    assert [rows[0], rows[ROWS_PER_WRITE]] == [wanted[0], wanted[ROWS_PER_WRITE]]
    assert list(tmp_path.iterdir()) == []  # the file has no name: it ends with the process


def test_of_one_sample_the_first_draft_is_kept(tmp_path):
    """And given back to the second, which repeats it."""
    kept = KeptRows(tmp_path)
    drafts = [draft(0), draft(1, Split.TEST)]
    ids = [one.sample_id for one in drafts]
    assert [kept.add(*each) for each in zip(ids, drafts, strict=True)] == [None, None]
    assert kept.add(ids[1], draft(1)) == drafts[1]
    assert list(kept.items()) == list(zip(ids, drafts, strict=True))
    assert [kept.sample_id(1), kept[0], len(kept)] == [ids[1], drafts[0], 2]


def test_a_manifest_whose_name_is_no_utf8_is_read(tmp_path, picture):
    """Its rows have the name that the ledger gives them, in the samples too."""
    (tmp_path / "a.jpg").write_bytes(picture())
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv"))
    path.write_text("path,text\na.jpg,a picture\n")
    options = IngestOptions.model_validate({"sources": [{"name": "s", "path": path, "task": "caption"}]})
    info = ingest(options, seed=0, workspace=tmp_path / "w")
    (row,) = read_ledger(info.ledger)
    (sample,) = Dataset(info.path).samples()
    assert row.uri == sample.uri == "\\udcff.csv#1"
