"""The report in a real browser: it opens from the file alone, on a phone too, and its filters and players work."""

import re
import shutil
import time

import pytest

from multimodal.evaluation.options import EvaluateOptions
from multimodal.evaluation.report import ReportInputs, render_report
from multimodal.evaluation.stage import evaluate_tasks
from multimodal.training.options import SamplerOptions

from .conftest import Oracle, history

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--autoplay-policy=no-user-gesture-required"]
    with playwright.sync_playwright() as session:
        opened = session.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()


class Careless(Oracle):
    """Writes right texts, but each third one with a word too much."""

    def generate(self, requests, options, trajectory=False):
        written = super().generate(requests, options, trajectory)
        for index in range(0, len(written), 3):
            changed = {"text": f"{written[index].text} oops", "filled": ("oops",)}
            written[index] = type(written[index])(**{**_fields(written[index]), **changed})
        return written


def _fields(generation):
    return {name: getattr(generation, name) for name in generation.__dataclass_fields__}


@pytest.fixture(scope="module")
def address(corpus, tmp_path_factory):
    """The file is moved away from where it was written: nothing beside it is needed."""
    folder, elsewhere = tmp_path_factory.mktemp("report"), tmp_path_factory.mktemp("elsewhere")
    options = EvaluateOptions(gallery=3, trajectories=2, frontier=(1, 2), resamples=100)
    model = Careless(corpus)
    results, skipped = evaluate_tasks(model, corpus.dataset, corpus.stores, options, SamplerOptions())
    inputs = ReportInputs(
        results, skipped, corpus.dataset, corpus.stores, options, SamplerOptions(), model, history(folder / "h.jsonl")
    )
    (folder / "report.html").write_text(render_report(inputs))
    return (folder / "report.html").rename(elsewhere / "moved.html").as_uri()


def wait_until(page, expression, seconds=30):
    """Playwright's own waiting evaluates strings in the page, which the page's content policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"{expression} is still false after {seconds} s"
        page.wait_for_timeout(50)


@pytest.fixture
def open_page(browser, address):
    """Opens the page without network; at the end nothing was said on its console and nothing was fetched."""
    contexts, problems, fetched = [], [], []

    def opened(width=1280, scheme="light"):
        contexts.append(
            browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True)
        )
        page = contexts[-1].new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not problems
    assert all(url == address or url.startswith("data:") for url in fetched)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_the_page_opens_without_errors_and_fits(open_page, width, scheme):
    """All pictures are there, and nothing has to be scrolled sideways; dark is dark."""
    page = open_page(width, scheme)
    wait_until(page, "[...document.images].every(image => image.complete)")
    assert page.evaluate("document.images.length") > 0
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    red = int(re.search(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[0])
    assert (red < 60) == (scheme == "dark")


def test_the_gallery_filters(open_page):
    """Task, right or wrong, slice and search each leave the samples that they name, and together fewer still."""
    page = open_page()
    cards, count = page.locator("#cards .card"), page.locator("#count")
    page.get_by_role("group", name="task").first.get_by_text("Transcripts").click()
    assert count.inner_text() == "6 of 6 samples" and cards.count() == 3
    page.locator("#more").click()
    assert cards.count() == 6 and page.locator("#more").is_hidden()
    page.locator("#verdicts").get_by_text("wrong").click()
    assert count.inner_text() == "2 of 6 samples" and page.locator("#cards .wrong").count() == cards.count() == 2
    page.locator("#verdicts").get_by_text("all").click()
    page.locator("#slice").select_option(label="voice voice2 (unseen)")
    assert page.locator("#cards .meta", has_text="voice2").count() == cards.count() == 2
    page.locator("#slice").select_option("")
    page.locator("#search").fill("OOPS")
    wait_until(page, "document.querySelector('#count').textContent.startsWith('2 of')")
    page.locator("#search").fill("no such word")
    wait_until(page, "document.querySelector('#count').textContent.startsWith('0 of')")
    assert cards.count() == 0


def test_the_worst_come_first(open_page):
    """Ordered by quality, wrong samples stand before right ones, and the other way round."""
    page = open_page()
    page.locator("#tasks").get_by_text("Denoise").click()
    for order, first in (("worst", "wrong"), ("best", "right")):
        page.locator("#order").select_option(order)
        assert first in page.locator("#cards .card").first.get_attribute("class")


def test_words_carry_their_confidence(open_page):
    """A word's tint is as strong as the model was unsure, and pointing at it tells the number."""
    page = open_page()
    token = page.locator("#cards .token[title]").first
    sure = float(token.evaluate("token => token.style.getPropertyValue('--sure')"))
    assert token.get_attribute("title") == f"{round(100 * sure)} % sure"
    tint = "token => Number(getComputedStyle(token).backgroundColor.match(/[\\d.]+(?=\\))/)[0])"
    legend = page.locator(".tints .token")
    assert legend.nth(4).evaluate(tint) > legend.nth(1).evaluate(tint) > 0


def test_sounds_play(open_page):
    """The clock of an audio player goes on."""
    page = open_page()
    page.locator("#tasks").get_by_text("Transcripts").click()
    page.evaluate("async () => { const a = document.querySelector('#cards audio'); a.muted = true; await a.play(); }")
    wait_until(page, "document.querySelector('#cards audio').currentTime > 0.05")
    assert page.evaluate("document.querySelector('#cards audio').duration") == pytest.approx(0.25, abs=0.05)


def test_steps_can_be_walked_through(open_page):
    """The slider, the buttons and play show one canvas after the other, from masks to words."""
    page = open_page()
    canvas, count = page.locator("#film-canvas"), page.locator("#film-count")
    assert count.inner_text() == "step 2 of 2, 0 open" and canvas.locator(".mask").count() == 0
    page.locator("#film-slider").evaluate("it => { it.value = 0; it.dispatchEvent(new Event('input')) }")
    masks = canvas.locator(".mask").count()
    assert masks > 0 and count.inner_text() == f"step 0 of 2, {masks} open"
    page.get_by_label("one step on").click()
    assert 0 < canvas.locator(".mask").count() < masks and canvas.locator(".new").count() > 0
    page.get_by_label("one step back").click()
    assert canvas.locator(".mask").count() == masks
    page.locator("#film-play").click()
    wait_until(page, "document.querySelector('#film-count').textContent === 'step 2 of 2, 0 open'")
    assert page.locator("#film-play").inner_text() == "Play"
    page.locator("#film-tasks").get_by_text("Infill").click()
    page.locator("#film-samples").get_by_text("sample 2").click()
    assert canvas.inner_text().strip() and page.locator("#film-given").inner_text().startswith("input")
