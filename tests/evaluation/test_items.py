"""Items: what one text to be written is, and what counts as right."""

import json
from dataclasses import replace

from multimodal.evaluation.items import build_items
from multimodal.sample import Sample, Split, Task
from multimodal.tasks import GAP


def made_sample(number: int, task: Task = Task.CAPTION, **more) -> Sample:
    first = Sample(
        f"s{number:02}", f"c{number}", task.modality, task, Split.TEST, "g", "made", "made#1", f"text number {number}"
    )
    return replace(first, **more)


def test_equal_references_count_once_and_order_does_not_matter():
    """Three captions of one picture, two of them equal, are one item with two references."""
    samples = [made_sample(n, content_id="c", text=text) for n, text in enumerate(["a b", "c d", "a b"])]
    (item,) = build_items(samples)
    assert item.references == ("a b", "c d")
    assert build_items(samples[::-1]) == [item]


def test_one_text_in_two_styles_is_two_items():
    """The asked style is part of what is asked."""
    samples = [made_sample(n, Task.RESTYLE, content_id="c", style=style) for n, style in enumerate(("plain", "grand"))]
    assert [item.style for item in build_items(samples)] == ["plain", "grand"]


def test_two_recordings_of_one_text_are_two_items():
    """Each transcript is written from its own sound."""
    assert len(build_items([made_sample(n, Task.TRANSCRIBE, text="same") for n in range(2)])) == 2


def test_a_gap_and_its_words_make_the_text_again():
    """Of infill the reference is what was cut out."""
    sample = made_sample(1, Task.INFILL, text="the quick brown fox jumps over the dog")
    (item,) = build_items([sample])
    assert GAP in item.input
    assert item.references[0] not in ("", sample.text)
    assert item.text == sample.text


def test_samples_without_latents_or_text_are_left_out():
    """A content that no encoder could read is not scored; infill needs none."""
    samples = [made_sample(0), made_sample(1), made_sample(2, text=" ")]
    assert [item.sample_id for item in build_items(samples, encoded={"c1", "c2"})] == ["s01"]
    assert len(build_items([made_sample(0, Task.INFILL)], encoded=set())) == 1


def test_the_first_items_by_sample_id_are_kept():
    """A smaller evaluation is a part of the larger one."""
    samples = [made_sample(number) for number in (3, 1, 2)]
    assert [item.sample_id for item in build_items(samples, 2)] == ["s01", "s02"]


def test_scenes_are_read_from_attributes_as_values_or_as_text():
    """CSV manifests hold JSON within JSON."""
    scene = {"objects": [], "background": "sand"}
    for attributes in ({"scene": scene}, {"scene": json.dumps(scene)}):
        (item,) = build_items([made_sample(1, attributes=json.dumps(attributes))])
        assert item.scene == scene
    assert build_items([made_sample(1)])[0].scene is None
