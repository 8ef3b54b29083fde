"""What counts as trained on, and what does not."""

import pytest

from multimodal.evaluation.decontamination import Decontamination, decontaminate
from multimodal.evaluation.items import Item, build_items
from multimodal.ingest.duplicates.plain import plain
from multimodal.sample import Modality, Split, Task


def item(task, content_id, reference, shown="", style=""):
    return Item("s", task, Split.TEST, content_id, (reference,), shown, style)


def test_a_clean_corpus_is_clean(corpus):
    """Splits that share no sentence share nothing, in any task."""
    train_contents = {sample.content_id for sample in corpus.dataset.samples(split=Split.TRAIN)}
    for task in Task:
        test, train = (build_items(corpus.dataset.samples(split=s, task=task)) for s in (Split.TEST, Split.TRAIN))
        assert decontaminate(test, train, train_contents) == Decontamination(0, len(test))


@pytest.mark.parametrize("task", list(Task))
def test_train_is_wholly_in_train(corpus, task):
    """The same items evaluated and trained on are all found, by their content or by their texts alone."""
    train = build_items(corpus.dataset.samples(split=Split.TRAIN, task=task))
    contents = {found.content_id for found in train}
    assert decontaminate(train, train, contents) == Decontamination(len(train), len(train))
    by_text = decontaminate(train, train, ()).test_in_train
    assert by_text == (0 if task.modality is not Modality.TEXT else len(train))


def test_the_same_picture_is_a_leak_whatever_its_caption_says():
    """Pictures are compared by their bytes."""
    test, train = item(Task.CAPTION, "a", "a dog"), item(Task.CAPTION, "a", "a brown dog")
    assert decontaminate([test], [train], {"a"}).test_in_train == 1


def test_the_same_sentence_in_another_voice_is_no_leak():
    """What is asked of a transcript is to hear it."""
    test, train = item(Task.TRANSCRIBE, "a", "a dog"), item(Task.TRANSCRIBE, "b", "a dog")
    assert decontaminate([test], [train], {"b"}).test_in_train == 0


def test_texts_that_differ_in_their_looks_are_the_same():
    """Case, punctuation and white space hide no leak; another input, target or style is another sample."""
    train = item(Task.RESTYLE, "b", "Please, sit down.", "sit down", "formal")
    asked = {"shown": "Sit  down!", "style": "formal"}
    assert decontaminate([item(Task.RESTYLE, "a", "please sit down", **asked)], [train], {"b"}).test_in_train == 1
    assert decontaminate([item(Task.RESTYLE, "a", "do sit down", **asked)], [train], {"b"}).test_in_train == 0
    other = {"shown": "sit down", "style": "informal"}
    assert decontaminate([item(Task.RESTYLE, "a", "please sit down", **other)], [train], {"b"}).test_in_train == 0


def test_another_gap_in_a_trained_text_is_a_leak():
    """Training cuts gaps at random, so that a whole text seen there is seen with every gap."""
    train = item(Task.INFILL, "b", "sat", "the cat ___ on the mat")
    test = item(Task.INFILL, "a", "mat", "The cat sat on the ___")
    assert decontaminate([test], [train], {"b"}).test_in_train == 1


def test_counts_of_tasks_add_up():
    """report.json gives their sum."""
    assert sum([Decontamination(1, 5), Decontamination(0, 3)], Decontamination()) == Decontamination(1, 8)


def test_plain_words():
    """Letters of any script stay."""
    assert plain("  Ünï-code, STRASSE_9! ") == "ünï code strasse 9"
