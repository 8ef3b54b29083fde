"""Thumbnails of quarantined media in report.html."""

import re
from dataclasses import replace

import pytest

from multimodal.evaluation.report import quarantine, render_report
from multimodal.evaluation.report.quarantine import quarantined_media

from .conftest import Oracle
from .test_report import inputs_of

pytest_plugins = ("tests.workspace_fixtures",)


@pytest.fixture(scope="module")
def parts(ingested_once):
    return {part.reason: part for part in quarantined_media(ingested_once.dataset)}


def test_every_reason_of_media_has_its_rows(parts):
    """Counts are those of the sources with media; an empty text of the text source is not among them."""
    expected = ("empty_text", "missing_file", "too_small", "truncated_audio", "truncated_image", "wrong_format")
    assert {reason: part.rows for reason, part in parts.items()} == dict.fromkeys(expected, 1)
    assert all(len(part.shown) == 1 for part in parts.values())


def test_what_can_be_opened_is_shown_and_the_rest_says_why(parts):
    """Pictures as WebP, the beginning of a cut sound as Ogg, and a reason in place of what is not there."""
    shown = {reason: part.shown[0] for reason, part in parts.items()}
    for reason in ("empty_text", "too_small", "truncated_image"):
        assert shown[reason].data_uri.startswith("data:image/webp;base64,") and not shown[reason].why
    assert shown["truncated_audio"].data_uri.startswith("data:audio/ogg;base64,")
    assert not shown["missing_file"].data_uri and "no.png" in shown["missing_file"].why
    assert not shown["wrong_format"].data_uri and "no picture" in shown["wrong_format"].why
    assert shown["too_small"].uri.startswith("pictures.csv#") and shown["too_small"].name.endswith(".png")


def test_a_source_that_is_gone_is_said_to_be(ingested_once, parts, monkeypatch):
    """The rows stay, each with the reason why there is nothing to see."""

    def gone(options, wanted):
        return {}, dict.fromkeys(wanted, "nothing at media/pictures.csv")

    monkeypatch.setattr(quarantine, "retrace", gone)
    for part in quarantined_media(ingested_once.dataset):
        assert part.shown[0].why == "the source is gone: nothing at media/pictures.csv"
        assert part.shown[0].detail == parts[part.reason].shown[0].detail


def test_what_ended_a_decoder_is_not_opened_again(ingested_once, monkeypatch):
    """A hostile file costs its seconds once, not in every report."""
    rows = quarantine.find_rows

    def fatal(*arguments, **named):
        found, total = rows(*arguments, **named)
        return [replace(row, reason="decoder_timeout") for row in found], total

    monkeypatch.setattr(quarantine, "find_rows", fatal)
    monkeypatch.setattr("multimodal.ingest.previews.previews", lambda *_: pytest.fail("a file was opened"))
    whys = {row.why for part in quarantined_media(ingested_once.dataset) for row in part.shown}
    assert whys == {"not opened again: it ended its decoder"}


def test_the_page_keeps_its_size(ingested_once, monkeypatch):
    """Thumbnails beyond their share of the page become a line that says so."""
    monkeypatch.setattr(quarantine, "PREVIEW_BYTES", 0)
    whys = [row.why for part in quarantined_media(ingested_once.dataset) for row in part.shown]
    assert all(whys) and whys.count("no room left on this page") == 4


def test_a_dataset_that_does_not_know_its_options_has_no_thumbnails(corpus):
    """As those of other versions, and those that tests make by hand."""
    assert quarantined_media(corpus.dataset) == ()


def test_the_report_shows_them(corpus, ingested_once, monkeypatch):
    """One section of the page, self-contained and escaped; a dataset without any has no such section."""
    inputs = inputs_of(Oracle(corpus), corpus)
    assert "Quarantined media" not in render_report(inputs)
    monkeypatch.setattr(
        "multimodal.evaluation.report.page.quarantined_media", lambda _: quarantined_media(ingested_once.dataset)
    )
    page = render_report(inputs)
    section = page.split('<section id="quarantine">')[1].split("</section>")[0]
    assert section.count("<img ") == 3 and section.count("<audio ") == 1 and section.count('class="placeholder"') == 2
    assert not re.search(r'src="(?!data:)', section)
    assert "starts with b&#39;this is no p" in section  # quotes are escaped
