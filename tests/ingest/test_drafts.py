from __future__ import annotations

import pytest

from multimodal.errors import MediaError
from multimodal.ingest.drafts import Drafter
from multimodal.ingest.options import CheckOptions, SourceOptions
from multimodal.ingest.reader import Row
from multimodal.ingest.readers import open_reader
from multimodal.ingest.reasons import Reason
from multimodal.sample import Split, content_digest, normalise

VALUES = {"path": "a.jpg", "text": "clean text", "input": "noisy text", "style": "formal"}


@pytest.fixture
def drafter(manifest):
    """`drafter(task, **options)`: of a manifest that has all columns."""
    path = manifest("m.csv", [["path", "text", "input", "style"]])

    def make(task, **options):
        return Drafter(open_reader(SourceOptions(name="s", path=path, task=task, **options)), CheckOptions())

    return make


def draft(drafter, **values):
    return drafter.draft(Row("m.csv#1", {**VALUES, **values}))


def reason_of(drafter, **values):
    with pytest.raises(MediaError) as caught:
        draft(drafter, **values)
    return caught.value.reason


def test_text_is_normalised():
    """Letters are composed (NFC) and white space of any kind is one space."""
    assert normalise(" cafe\u0301\u00a0\t au\n\nlait ") == "caf\u00e9 au lait"


def test_texts_are_checked(drafter):
    """Empty and endless texts have their reasons; white space alone is empty."""
    assert reason_of(drafter("caption"), text=" \n") == Reason.EMPTY_TEXT
    assert reason_of(drafter("caption"), text="x" * 401) == Reason.TEXT_TOO_LONG
    assert reason_of(drafter("denoise"), input="") == Reason.MISSING_INPUT
    assert reason_of(drafter("denoise"), input="x" * 401) == Reason.TEXT_TOO_LONG
    assert reason_of(drafter("caption"), path=" ") == Reason.MISSING_FILE


def test_further_columns_have_a_greatest_length(drafter):
    """All of them together, since each is kept in the dataset."""
    row = Row("m.csv#1", VALUES, {"a": "x" * 200_000})
    assert drafter("caption").draft(row).attributes == '{"a": "' + "x" * 200_000 + '"}'
    with pytest.raises(MediaError, match=r"further columns of 4000.. characters, at most 262144") as caught:
        drafter("caption").draft(Row("m.csv#1", VALUES, {"a": "x" * 200_000, "b": "x" * 200_000}))
    assert caught.value.reason == Reason.TEXT_TOO_LONG


def test_fields_that_a_task_does_not_use_stay_empty(drafter):
    """A caption has no input, nor has an infill."""
    assert (draft(drafter("caption")).input, draft(drafter("infill")).input) == ("", "")


@pytest.mark.parametrize("task", ["caption", "transcribe", "denoise", "infill", "restyle"])
def test_a_text_of_any_task_may_name_its_style(drafter, task):
    """In a column, or for the whole source where the column is empty."""
    assert draft(drafter(task)).style == "formal"
    assert draft(drafter(task, style="plain"), style="").style == "plain"
    assert task == "restyle" or draft(drafter(task), style="").style == ""


def test_a_text_content_is_its_input(drafter):
    """The content of a denoise row is its noisy text; that of infill is the text itself."""
    assert draft(drafter("denoise")).content_id == content_digest(b"noisy text")
    assert draft(drafter("infill")).content_id == content_digest(b"clean text")


def test_variants_of_one_text_are_one_group(drafter):
    """Two noisy forms of one sentence, its infill, and both directions of a pair each share a group."""
    noisy = {draft(drafter("denoise"), input=text).group for text in ("nosy text", "noisy txt")}
    assert noisy == {draft(drafter("infill")).group}
    there, back = draft(drafter("restyle")), draft(drafter("restyle"), text=VALUES["input"], input=VALUES["text"])
    assert there.group == back.group
    assert draft(drafter("denoise"), group="album 7").group == "album 7"


def test_split_words_are_understood(drafter, tmp_path):
    """Our words, the usual ones, and those of split_values; an unknown word is a typed reason with the cure."""
    assert draft(drafter("caption"), split="train").official is Split.TRAIN
    assert draft(drafter("caption"), split="Validation").official is Split.VAL
    assert draft(drafter("caption", split_values={"dev": "test"}), split="dev").official is Split.TEST
    assert draft(drafter("caption", split="test"), split="").official is Split.TEST
    assert draft(drafter("caption"), split="").official is None
    with pytest.raises(MediaError, match=r"split_values: \{holdout"):
        draft(drafter("caption"), split="holdout")


def test_split_lists_name_media(drafter, tmp_path):
    """A list names files with or without their folder; unlisted rows fall back to the source's split."""
    (tmp_path / "dev.txt").write_text("a.jpg\nb.jpg\n")
    listed = drafter("caption", split_files={"val": tmp_path / "dev.txt"}, split="train")
    assert draft(listed, path="Images/a.jpg").official is Split.VAL
    assert draft(listed, path="c.jpg").official is Split.TRAIN
