"""Who is in which slice, what a slice scores, and which one is the worst."""

import io

import pytest
from PIL import Image

from multimodal.evaluation.items import Item, build_items
from multimodal.evaluation.slices import MIN_SLICE, Slice, picture_shapes, slice_names, slice_scores, worst_slice
from multimodal.evaluation.sufficient import ratio
from multimodal.sample import Content, Modality, Split, Task

OBJECTS = '[{"colour": "red", "shape": "star"}, {"colour": "%s", "shape": "ring"}]'
SCENE = '{"scene": {"objects": ' + OBJECTS + ', "background": "sky"}}'
SIZES = {"a": (60, 30), "b": (30, 60), "c": (32, 30)}


def item(task=Task.CAPTION, text="a dog", **more):
    return Item("s", task, Split.TEST, more.pop("content_id", "c"), (text,), **more)


def names_of(found, train=(), shapes=None):
    return slice_names([found], list(train) or [item()], shapes)[0]


def test_scenes_are_told_apart_by_objects_background_and_what_was_seen():
    """Two objects before the sky; a pair of colour and shape that train lacks is new."""
    named = names_of(item(attributes=SCENE % "blue"), [item(attributes=SCENE % "green")])
    assert named == {
        "pairs seen": "pairs never seen in training", "objects": "2 objects", "background": "background sky",
        "length": "1 to 5 words",
    }  # fmt: skip
    assert "pairs seen" not in names_of(item(attributes=SCENE % "blue"), [item(attributes=SCENE % "blue")])


@pytest.mark.parametrize(
    ("words", "name"), [(1, "1 to 5 words"), (5, "1 to 5 words"), (6, "6 to 10 words"), (21, "21 words or more")]
)
def test_texts_are_told_apart_by_length(words, name):
    """In words of the whole reference; of infill the words around the gap count too."""
    assert names_of(item(text="word " * words))["length"] == name
    gapped = item(Task.INFILL, "word", input="___" + " word" * (words - 1))
    assert names_of(gapped)["length"] == name


@pytest.mark.parametrize(
    ("shown", "name"),
    [("x" * 20, "noise 0% to 2%"), ("x" * 19 + "y", "noise 5% to 10%"), ("y" * 20, "noise 20% or more")],
)
def test_texts_to_be_cleaned_are_told_apart_by_their_noise(shown, name):
    """The character error rate of the input against the reference."""
    assert names_of(item(Task.DENOISE, "x" * 20, input=shown))["noise"] == name


def test_samples_are_told_apart_by_speaker_source_and_style():
    """A voice that train lacks says so."""
    heard = names_of(item(Task.TRANSCRIBE, speaker="ann", source="radio"), [item(Task.TRANSCRIBE, speaker="ann")])
    assert (heard["speaker"], heard["source"]) == ("voice ann", "source radio")
    unheard = names_of(item(Task.TRANSCRIBE, speaker="bob"), [item(Task.TRANSCRIBE, speaker="ann")])
    assert (unheard["speaker"], unheard["voice heard"]) == ("voice bob (unseen)", "voices never heard in training")
    assert names_of(item(Task.RESTYLE, style="formal"))["style"] == "to formal"


class Pictures:
    """Three pictures of other shapes."""

    def contents(self, ids, modality):
        assert modality is Modality.IMAGE
        for content_id in ids:
            data = io.BytesIO()
            Image.new("RGB", SIZES[content_id]).save(data, "PNG")
            yield Content(content_id, Modality.IMAGE, data.getvalue())


def test_photographs_are_told_apart_by_shape():
    """Pictures whose scene is described are not opened."""
    items = [item(content_id=name) for name in "abc"]
    shapes = picture_shapes(items, Pictures())
    assert [names["picture"] for names in slice_names(items, items, shapes)] == [
        "wide picture", "tall picture", "square picture",
    ]  # fmt: skip
    assert picture_shapes([item(attributes=SCENE % "red")], Pictures()) == {}


def test_a_slice_scores_its_own_samples():
    """Two parts of an error rate, and none for what all samples share."""
    statistics = ratio([2, 0, 1], [2, 6, 2])
    names = [{"speaker": "voice a", "source": "source x"}, *[{"speaker": "voice b", "source": "source x"}] * 2]
    found = slice_scores(Task.TRANSCRIBE, "wer", statistics, names)
    assert [(part.name, part.value, part.count) for part in found] == [("voice a", 1, 1), ("voice b", 0.125, 2)]
    assert {part.dimension for part in found} == {"speaker"}


def test_the_worst_slice_has_at_least_twenty_samples():
    """By the metric's own direction; a bad slice of nineteen is chance."""
    parts = [Slice(Task.CAPTION, "m", f"{count}", value, count) for value, count in ((0.1, 19), (0.5, 20), (0.9, 90))]
    assert worst_slice(parts, higher_is_better=True).name == "20"
    assert worst_slice(parts, higher_is_better=False).name == "90"
    assert worst_slice(parts[:1], higher_is_better=True) is None
    assert MIN_SLICE == 20


def test_every_item_of_a_corpus_is_in_the_slices_that_count_it(corpus):
    """Names and counts agree, whatever the task."""
    for task in Task:
        test, train = (build_items(corpus.dataset.samples(split=s, task=task)) for s in (Split.TEST, Split.TRAIN))
        names = slice_names(test, train, picture_shapes(test, corpus.dataset))
        parts = slice_scores(task, "m", ratio([1] * len(test), [1] * len(test)), names)
        for part in parts:
            assert part.count == sum(part.name in named.values() for named in names)
        assert task is not Task.CAPTION or {"picture": "wide picture"}.items() <= names[0].items()
