"""report.html: self-contained, escaped, honest about what was not beaten."""

import re
from dataclasses import replace

import pytest

from multimodal.evaluation.options import EvaluateOptions
from multimodal.evaluation.report import ReportInputs, render_report, score_row, trajectory_rows
from multimodal.evaluation.score import TaskScore
from multimodal.evaluation.stage import evaluate_tasks
from multimodal.sample import Task
from multimodal.tokenizer import MASK, PAD
from multimodal.training.options import SamplerOptions

from .conftest import Blind, Oracle, history

OPTIONS = EvaluateOptions(gallery=2, trajectories=1)
NASTY = '<script>alert(1)</script> & "quotes"'


class Nasty(Oracle):
    """Writes texts that would run if they were not escaped."""

    def generate(self, requests, options, trajectory=False):
        generations = super().generate(requests, options, trajectory)
        return [replace(g, text=NASTY, tokens=(NASTY,), confidences=(0.3,), filled=(NASTY,)) for g in generations]


def html_of(generator, corpus, history_path=None):
    results, skipped = evaluate_tasks(generator, corpus.dataset, corpus.stores, OPTIONS, SamplerOptions())
    return render_report(
        ReportInputs(
            results, {**skipped, "dance": "nobody can"}, corpus.dataset, corpus.stores, OPTIONS, SamplerOptions(),
            generator, history_path, {"pipeline": "tiny <job>"},
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(corpus, tmp_path_factory):
    return html_of(Oracle(corpus), corpus, history(tmp_path_factory.mktemp("run") / "history.jsonl"))


def test_everything_is_in_the_one_file(page):
    """No address of anything outside: pictures and sounds are data URIs, curves are inline, style and script too."""
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "http://" not in page and "https://" not in page and "@import" not in page
    assert page.count("data:image/webp;base64,") == page.count("data:audio/ogg;base64,") == OPTIONS.gallery
    assert page.count("<svg") == 2


def test_a_page_of_a_good_model_has_nothing_red(page):
    """All scores beat their controls, and the head says so."""
    assert "All 11 scores beat their controls." in page
    assert "does not look at its input" not in page.replace("there the model does not look at its input", "")
    assert 'class="blind"' not in page


def test_a_blind_model_is_told_in_red(corpus):
    """Every score stands in a red row with the reason in words, and the head counts them."""
    page = html_of(Blind(), corpus)
    assert "0 of 11 scores beat their controls." in page
    assert page.count('class="blind"') == page.count(">does not look at its input<") == 11


def test_texts_are_escaped(corpus):
    """Neither hypotheses nor names can put markup on the page."""
    page = html_of(Nasty(corpus), corpus)
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert "tiny &lt;job&gt;" in page


def test_words_carry_their_confidence(page):
    """Each word of a hypothesis is tinted by how sure the model was."""
    assert re.search(r"--confidence:0\.\d{3}\" title=\"\d+ % sure\"", page)


def test_skipped_tasks_are_named(page):
    """A task that was not evaluated is not forgotten."""
    assert "dance was not evaluated: nobody can." in page


def test_steps_show_masks_new_words_and_no_padding():
    """What changed in a step is marked, what is still open is a mask, padding is left out."""
    rows = trajectory_rows([(MASK, MASK, MASK), (" a", MASK, PAD), (" a", " b", PAD)])
    kinds = [[(token.text, token.kind) for token in row] for row in rows]
    assert kinds == [
        [("", "mask")] * 3,
        [(" a", "new"), ("", "mask")],
        [(" a", "word"), (" b", "new")],
    ]


def test_the_verdict_names_the_control_that_was_not_beaten():
    """Losing to a retrieved text is not the same as not looking."""
    score = TaskScore(Task.CAPTION, "bleu_4", 0.3, 0.1, 0.4, 0.2, True, {}, "made")
    row = score_row(score)
    assert (row.verdict, row.blind) == ("does not beat nearest", False)
    assert [cell.beaten for cell in row.controls] == [True, False, True]
