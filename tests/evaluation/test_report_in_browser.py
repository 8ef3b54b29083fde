"""The report in a real browser: it opens from the file alone, on a phone too, and its players play."""

import shutil

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


@pytest.fixture(scope="module")
def address(corpus, tmp_path_factory):
    folder, options = tmp_path_factory.mktemp("report"), EvaluateOptions(gallery=3, trajectories=1)
    oracle = Oracle(corpus)
    results, skipped = evaluate_tasks(oracle, corpus.dataset, corpus.stores, options, SamplerOptions())
    inputs = ReportInputs(
        results, skipped, corpus.dataset, corpus.stores, options, SamplerOptions(), oracle, history(folder / "h.jsonl")
    )
    (folder / "report.html").write_text(render_report(inputs))
    return (folder / "report.html").as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_the_page_opens_without_errors_and_fits(browser, address, width, scheme):
    """No console message, nothing fetched from anywhere, all pictures there, no sideways scrolling."""
    page = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme).new_page()
    problems, fetched = [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(address)
    page.wait_for_function("[...document.images].every(image => image.complete)")
    assert not problems
    assert all(url == address or url.startswith("data:") for url in fetched)
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_sounds_play_and_steps_can_be_walked_through(browser, address):
    """An audio player has a length, and the slider of a trajectory shows one canvas at a time."""
    page = browser.new_page()
    page.goto(address)
    play = (
        "async () => { const a = document.querySelector('audio'); a.muted = true; await a.play(); return a.duration }"
    )
    assert page.evaluate(play) == pytest.approx(0.25, abs=0.05)
    steps = page.locator(".steps").first
    assert steps.locator("li:visible").count() == 1
    slider = steps.locator("input")
    slider.evaluate("slider => { slider.value = 0; slider.dispatchEvent(new Event('input')) }")
    assert steps.locator("li:visible .mask").count() > 0
    assert steps.locator("li:visible .token").count() == 0
