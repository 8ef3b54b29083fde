"""report.html: self-contained, escaped, honest about what was not beaten."""

import json
import re
from dataclasses import replace

import pytest

from multimodal.evaluation.options import EvaluateOptions
from multimodal.evaluation.report import ReportInputs, render_report, stamp_verdict
from multimodal.evaluation.stage import evaluate_tasks
from multimodal.training.options import SamplerOptions

from .conftest import Blind, Oracle, history

OPTIONS = EvaluateOptions(gallery=2, trajectories=1, frontier=(1, 2), resamples=100)
NASTY = '<script>alert(1)</script> & "quotes" </script>\u2028'


class Nasty(Oracle):
    """Writes texts that would run if they were not escaped."""

    def generate(self, requests, options, trajectory=False):
        generations = super().generate(requests, options, trajectory)
        return [replace(g, text=NASTY, tokens=(NASTY,), confidences=(0.3,), filled=(NASTY,)) for g in generations]


def inputs_of(generator, corpus, history_path=None, **facts):
    results, skipped = evaluate_tasks(generator, corpus.dataset, corpus.stores, OPTIONS, SamplerOptions())
    return ReportInputs(
        results, {**skipped, "dance": "nobody can"}, corpus.dataset, corpus.stores, OPTIONS, SamplerOptions(),
        generator, history_path, {"pipeline": "tiny <job>", **facts},
    )  # fmt: skip


def gallery_of(page):
    return json.loads(re.search(r'id="gallery">(.*?)</script>', page, re.DOTALL)[1])


@pytest.fixture(scope="module")
def inputs(corpus, tmp_path_factory):
    return inputs_of(Oracle(corpus), corpus, history(tmp_path_factory.mktemp("run") / "history.jsonl"))


@pytest.fixture(scope="module")
def page(inputs):
    return render_report(inputs)


def test_everything_is_in_the_one_file(page):
    """No address of anything outside: pictures and sounds are data URIs, curves are inline, style and script too."""
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "http://" not in page and "https://" not in page and "@import" not in page


def test_every_sample_is_in_the_gallery_with_its_media(page, inputs):
    """The gallery holds what was evaluated, sample by sample, and small media are all there."""
    gallery = gallery_of(page)
    for result in inputs.results:
        examples = gallery[result.task]["examples"]
        assert [example["id"] for example in examples] == [item.sample_id for item in result.items]
        assert [example["text"] for example in examples] == list(result.answers.model)
    assert all(example["media"].startswith("data:image/webp;") for example in gallery["caption"]["examples"])
    assert all(example["media"].startswith("data:audio/ogg;") for example in gallery["transcribe"]["examples"])


def test_slices_of_the_gallery_are_those_of_the_scores(page, inputs):
    """Choosing a slice shows as many samples as its score was computed from."""
    gallery = gallery_of(page)
    for result in inputs.results:
        found = [number for example in gallery[result.task]["examples"] for number in example.get("slices", [])]
        for number, part in enumerate(result.slices):
            assert (gallery[result.task]["slices"][number], found.count(number)) == (part.name, part.count)
    assert any(result.slices for result in inputs.results)


def test_a_page_of_a_good_model_has_nothing_red(page, inputs):
    """All scores that have controls to beat do, and the head says so."""
    judged = sum(bool(score.must_beat) for result in inputs.results for score in result.scores)
    assert f"All {judged} scores beat their controls." in page
    assert ">does not look at its input<" not in page and 'class="blind"' not in page


def test_a_blind_model_is_told_in_red(corpus):
    """Every score stands in a red row with the reason in words, and the head counts them."""
    inputs = inputs_of(Blind(), corpus)
    page = render_report(inputs)
    blind = sum("shuffled" in score.must_beat for result in inputs.results for score in result.scores)
    assert re.search(r"\b0 of \d+ scores beat their controls", page)
    assert page.count('<tr class="blind"') == blind
    assert f"<strong>{blind} do not beat the same model with shuffled conditions" in page


def test_texts_are_escaped(corpus):
    """Neither hypotheses nor names can put markup on the page, not even in the script that holds the samples."""
    page = render_report(inputs_of(Nasty(corpus), corpus))
    assert "<script>alert" not in page and page.count("</script>") == 2
    assert gallery_of(page)["denoise"]["examples"][0]["text"] == NASTY
    assert "tiny &lt;job&gt;" in page


def test_all_controls_and_intervals_stand_in_the_table(page, inputs):
    """Each score shows the four controls and, where it is known, its interval."""
    for name in ("constant", "nearest", "shuffled", "null"):
        assert page.count(f'<td data-label="{name}"') == sum(len(result.scores) for result in inputs.results)
    known = sum(score.interval is not None for result in inputs.results for score in result.scores)
    assert len(re.findall(r'data-label="interval" class="aside">[^<]+<', page)) == known > 0


def test_the_worst_slice_is_marked(page, inputs):
    """One mark for every task that has a slice large enough to be called the worst."""
    assert page.count(">worst</b>") == sum(result.worst_slice is not None for result in inputs.results)


def test_skipped_tasks_are_named(page):
    """A task that was not evaluated is not forgotten."""
    assert "dance was not evaluated: nobody can." in page


def test_sections_without_content_are_left_out(inputs):
    """Results that know no frontier, no slices and no history make a page without those sections."""
    bare = [
        replace(result, frontier=(), slices=(), slice_names=(), worst_slice=None, main_metric="")
        for result in inputs.results
    ]
    page = render_report(replace(inputs, results=bare, history=None))
    for section in ("slices", "speed", "training"):
        assert f'id="{section}"' not in page and f'href="#{section}"' not in page
    assert 'id="scores"' in page


def test_the_gates_verdict_can_be_put_on_a_finished_page(inputs, page):
    """The verdict of the registry stands at the head, escaped; a second one replaces the first."""
    rejected = stamp_verdict(page, False, "not promoted: worst slice 3 < 5")
    assert '<p class="stamp bad">not promoted: worst slice 3 &lt; 5</p>' in rejected
    promoted = stamp_verdict(rejected, True, "promoted to version 2")
    assert '<p class="stamp good">promoted to version 2</p>' in promoted and "not promoted" not in promoted
    told = render_report(replace(inputs, facts={"promotion": "promoted: first version"}))
    assert '<p class="stamp good">promoted: first version</p>' in told
