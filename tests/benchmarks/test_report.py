"""The report of 5,000 test samples with pictures: its size, and how fast it opens.

pytest tests/benchmarks/test_report.py -s        about a minute; prints what it measured
"""

from __future__ import annotations

import io
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multimodal.dataset import Dataset, DatasetWriter, Fate, LedgerRow
from multimodal.evaluation.controls import derangement
from multimodal.evaluation.items import Item, build_items
from multimodal.evaluation.options import EvaluateOptions
from multimodal.evaluation.report import ReportInputs, render_report
from multimodal.evaluation.score import TaskScore
from multimodal.evaluation.task_results import Answers, TaskResult
from multimodal.generation import Generation
from multimodal.sample import Content, Sample, Split, Task, content_digest, sample_digest
from multimodal.training.options import SamplerOptions

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]
SAMPLES, REFERENCES = 5000, 5
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TEXT = "a the dog man woman child red blue small large runs jumps sits stands on in grass water street beside"


def photograph(number: int) -> bytes:
    """A picture with the detail of a photograph: smooth areas, edges and some noise, 500 x 375."""
    generator = np.random.default_rng(number)
    coarse = Image.fromarray(generator.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize((500, 375))
    noise = generator.normal(0, 8, (375, 500, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(TEXT.split()) for _ in range(12))


def make_dataset(root: Path) -> Dataset:
    """As many pictures with five captions each, all of the test split."""
    rng = random.Random(0)
    with DatasetWriter.open(root / "dataset" / "f", root / "ledger" / "f", {}) as writer:
        for number in range(SAMPLES):
            data = photograph(number)
            content_id = content_digest(data)
            writer.add_media(Content(content_id, Task.CAPTION.modality, data))
            for _ in range(REFERENCES):
                text = sentence(rng)
                key = sample_digest(content_id, Task.CAPTION, "", text)
                writer.add_sample(
                    Sample(key, content_id, Task.CAPTION.modality, Task.CAPTION, Split.TEST, str(number), "made",
                           f"made#{number}", text)
                )  # fmt: skip
                writer.add_ledger(LedgerRow("made", f"made#{number}", Fate.KEPT, sample_id=key))
    return Dataset(root / "dataset" / "f")


class Silent:
    """A model that is not asked."""

    def generate(self, requests, options, trajectory=False):
        raise AssertionError("no trajectory was asked for")


def result_of(items: list[Item]) -> TaskResult:
    rng = random.Random(1)
    texts = [item.references[0] if rng.random() < 0.3 else sentence(rng) for item in items]
    generations = [write(item, text, rng) for item, text in zip(items, texts, strict=True)]
    shuffled = tuple(texts[index] for index in derangement(len(texts)))
    answers = Answers(tuple(texts), ("a dog",) * len(items), tuple(sentence(rng) for _ in items), shuffled)
    score = TaskScore(Task.CAPTION, "cider_d", 1.0, 0.1, 0.3, 0.1, True, {"samples": len(items)}, "made")
    return TaskResult(Task.CAPTION, tuple(items), tuple(generations), answers, (score,), (), 1.0)


def write(item: Item, text: str, rng: random.Random) -> Generation:
    tokens = tuple(f" {word}" for word in text.split())
    return Generation(item.sample_id, text, tokens, tuple(rng.random() for _ in tokens), 8, 0.8)


def test_the_report_of_5000_samples_is_small_and_opens_fast(tmp_path: Path) -> None:
    """At most 25 MB; in Chromium its first gallery with pictures stands there in less than 3 s."""
    playwright = pytest.importorskip("playwright.sync_api")
    dataset = make_dataset(tmp_path)
    items = build_items(dataset.samples(split=Split.TEST, task=Task.CAPTION))
    inputs = ReportInputs(
        [result_of(items)], {}, dataset, {}, EvaluateOptions(trajectories=0), SamplerOptions(), Silent()
    )
    start = time.monotonic()
    html = render_report(inputs)
    rendered = time.monotonic() - start
    path = tmp_path / "report.html"
    path.write_text(html)
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        page = browser.new_page()
        page.goto("about:blank")
        start = time.monotonic()
        page.goto(path.as_uri())
        while not page.evaluate("document.images.length && [...document.images].every(image => image.complete)"):
            page.wait_for_timeout(10)
        seconds = time.monotonic() - start
        start = time.monotonic()
        page.locator("#order").select_option("worst")
        ordered = time.monotonic() - start
        browser.close()
    shown, megabytes = html.count("data:image/webp"), path.stat().st_size / 1e6
    print(f"\n{len(items)} samples, {shown} pictures: {megabytes:.1f} MB, made in {rendered:.1f} s, ", end="")
    print(f"opens in {seconds:.2f} s, reorders in {ordered:.2f} s")
    assert len(items) == SAMPLES and megabytes <= 25 and seconds < 3
