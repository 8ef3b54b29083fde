"""What the report counts: word errors, objects, slices, rows of the data card, steps."""

import json

import pytest

from multimodal.dataset import Dataset, DatasetWriter, Fate, LedgerRow
from multimodal.evaluation.decontamination import Decontamination
from multimodal.evaluation.error_rates import wer
from multimodal.evaluation.items import Item
from multimodal.evaluation.report.data_card import data_card
from multimodal.evaluation.report.examples import is_right
from multimodal.evaluation.report.objects import object_errors
from multimodal.evaluation.report.scores import score_row
from multimodal.evaluation.report.trajectories import canvases
from multimodal.evaluation.report.word_errors import Confusion, word_errors
from multimodal.evaluation.score import TaskScore
from multimodal.sample import Modality, Sample, Split, Task
from multimodal.tokenizer import MASK, PAD


def score(metric="bleu_4", value=0.3, **changed):
    controls = {"constant": 0.1, "nearest": 0.4, "shuffled": 0.2} | changed
    return TaskScore(Task.CAPTION, metric, value, **controls, higher_is_better=True, counts={}, signature="made")


def picture(references, scene=None):
    attributes = json.dumps({"scene": scene}) if scene else "{}"
    return Item("s", Task.CAPTION, Split.TEST, "c", tuple(references), attributes=attributes)


def test_word_errors_are_those_of_the_rate():
    """Substitutions, deletions and insertions by word add up to what WER counts."""
    hypotheses, references = ["a cat sat here", "the dog", ""], ["the cat sat", "the dog ran off", "so it is"]
    errors, counts = word_errors(hypotheses, references), wer(hypotheses, references).counts
    assert (errors.hits, errors.substitutions, errors.deletions, errors.insertions) == tuple(
        counts[name] for name in ("hits", "substitutions", "deletions", "insertions")
    )
    by_word = {word.word: word for word in errors.words}
    assert (by_word["the"].said, by_word["the"].substituted, by_word["here"].inserted) == (2, 1, 1)
    assert Confusion("the", "a", 1) in errors.confusions and Confusion("ran", "", 1) in errors.confusions


def test_word_errors_follow_the_normaliser():
    """What the normaliser makes equal is no error."""
    assert word_errors(["Hello, World!"], ["hello world"]).substitutions == 2
    assert word_errors(["Hello, World!"], ["hello world"], "basic").words == ()


def test_objects_of_scenes_are_missing_or_invented():
    """A drawn object that is not named is missing; one named in another colour is missing once and invented once."""
    scene = {"objects": [{"colour": "red", "shape": "star"}, {"colour": "blue", "shape": "ring"}]}
    items = [picture(["a red star and a blue ring"], scene)] * 2
    errors = object_errors(items, ["a red star", "a red star and a small green ring"])
    assert (errors.kind, errors.there, errors.missing, errors.invented) == ("object", 4, 2, 1)
    assert errors.pictures_with_invented == 1 and errors.objects[0].name == "blue ring"


def test_words_of_photographs_are_held_against_all_references():
    """A word that half of the references say is missing; one that none says is invented; stop words do not count."""
    item = picture(["a dog runs on grass", "the dog jumps", "a puppy on the grass"])
    errors = object_errors([item], ["a dog and the frisbee"])
    assert (errors.kind, errors.there, errors.missing, errors.invented) == ("word", 2, 1, 1)
    assert {row.name for row in errors.objects} == {"grass", "frisbee"}
    assert object_errors([picture(["one caption only"])], ["a dog"]) is None


def test_the_verdict_names_the_control_that_was_not_beaten():
    """Losing to a retrieved text is not the same as not looking, and a score without controls has no verdict."""
    row = score_row(score())
    assert (row.verdict, row.blind) == ("does not beat nearest", False)
    beaten = {cell.name: cell.beaten for cell in row.controls}
    assert (beaten["constant"], beaten["nearest"], beaten["shuffled"]) == (True, False, True)
    assert score_row(score(value=0.1)).blind
    only_described = score_row(score(value=0.1, must_beat=()))
    assert (only_described.verdict, only_described.blind) == ("", False)


def test_numbers_are_written_as_people_read_them():
    """Intervals name their unit once, negative numbers have a minus sign."""
    assert score_row(score("exact_match", 0.5, interval=(0.412, 0.588))).interval == "41.2 – 58.8\u202f%"
    assert score_row(score("cer_improvement", -0.5)).value == "−50.0\u202f%"
    assert score_row(score()).interval == ""


def test_captions_of_photographs_are_not_called_wrong():
    """Only an equal reference or a drawn scene can tell."""
    item = picture(["a dog"])
    assert (is_right(item, "a dog"), is_right(item, "one brown dog")) == (True, None)


def test_steps_keep_positions():
    """Masks are None and padding is empty, in place, so that nothing jumps while the player plays."""
    steps = canvases([(MASK, MASK, MASK), (" a", MASK, PAD), (" a", " b", PAD)])
    assert steps == [[None, None, None], [" a", None, ""], [" a", " b", ""]]


@pytest.fixture
def dataset(tmp_path):
    parts = {"options": {"sources": [{"name": "books", "license": "CC0"}, {"name": "letters"}]}}
    with DatasetWriter.open(tmp_path / "dataset" / "f", tmp_path / "ledger" / "f", parts) as writer:
        rows = [("books", "{}", Split.TRAIN), ("books", "{}", Split.TEST)]
        rows += [("letters", '{"licence": "MIT"}', Split.TRAIN), ("mine", "{}", Split.VAL)]
        for number, (source, attributes, split) in enumerate(rows):
            sample = Sample(
                f"s{number}", f"c{number}", Modality.TEXT, Task.DENOISE, split, str(number), source, "u", "clean",
                "noisy", attributes=attributes,
            )  # fmt: skip
            writer.add_sample(sample)
            writer.add_ledger(LedgerRow(source, "u", Fate.KEPT, sample_id=sample.sample_id))
        writer.add_ledger(LedgerRow("mine", "u", Fate.QUARANTINED, reason="empty_text"))
    return Dataset(tmp_path / "dataset" / "f")


def test_the_data_card_counts_rows_and_names_licences(dataset):
    """Licences come from the sample's own columns or from the source's options; a source without one has none."""
    card = data_card(dataset, Decontamination(1, 4))
    assert [(share.name, share.count) for share in card.fates] == [("kept", 4), ("duplicate", 0), ("quarantined", 1)]
    assert [(share.name, share.count, share.share) for share in card.reasons] == [("empty text", 1, 100)]
    assert {row.source: row.licence for row in card.sources} == {"books": "CC0", "letters": "MIT", "mine": ""}
    books = next(row for row in card.sources if row.source == "books")
    assert dict(zip(card.splits, books.splits, strict=True)) == {"train": 1, "val": 0, "test": 1}
