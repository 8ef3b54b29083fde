"""What scoring a pair costs: new ones by the sample's CLIP model, and known ones, which are only looked up.

python -m pytest tests/benchmarks/test_pairs.py -m benchmark -s        under a minute
"""

import time

import numpy as np
import pytest

from multimodal.encoders import build_encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.latents import LatentStore, LatentWriter
from multimodal.pairs.known import KnownScores
from multimodal.pairs.scoring import score_samples
from multimodal.sample import Modality, Sample, Split, Task, content_digest
from tests.conftest import ROOT

NEW, KNOWN = 2_000, 100_000


def samples(texts, contents):
    made = []
    for number, text in enumerate(texts):
        content = contents[number % len(contents)]
        key = content_digest(f"{content}{text}".encode())
        made.append(Sample(key, content, Modality.IMAGE, Task.CAPTION, Split.TRAIN, key, "s", f"s#{number}", text))
    return made


@pytest.mark.benchmark
def test_cost_of_a_pair(tmp_path):
    """Microseconds a pair; known ones must cost less than a tenth of new ones."""
    options = EncoderOptions(kind="open_clip", weights=str(ROOT / "data/encoders/image"), device="cpu")
    encoder = build_encoder(options, Modality.IMAGE)
    contents = [content_digest(str(number).encode()) for number in range(1_000)]
    with LatentWriter(tmp_path / "latents", encoder.fingerprint, 4) as writer:
        for number, content in enumerate(contents):
            vector = np.random.default_rng(number).standard_normal(encoder.pooled_size).astype(np.float32)
            writer.add(content, np.zeros((1, 4), dtype=np.float32), vector)
    store, known = LatentStore(tmp_path / "latents"), KnownScores(tmp_path / "known")
    new = samples([f"a large red circle above a small blue star, number {n}" for n in range(NEW)], contents)
    started = time.perf_counter()
    score_samples(new, store, lambda: encoder, known)
    of_new = 1e6 * (time.perf_counter() - started) / NEW
    started = time.perf_counter()
    for start in range(0, NEW, 256):
        encoder.embed_texts([sample.text for sample in new[start : start + 256]])
    of_tower = 1e6 * (time.perf_counter() - started) / NEW
    many = samples([f"text {n}" for n in range(KNOWN)], contents)
    texts = [content_digest(sample.text.encode()) for sample in many]
    known.add([sample.content_id for sample in many], texts, np.zeros(KNOWN, dtype=np.float32))
    started = time.perf_counter()
    assert score_samples(many, store, lambda: encoder, known).computed == 0
    of_known = 1e6 * (time.perf_counter() - started) / KNOWN
    print(f"\nnew pair {of_new:.0f} us, of which the text tower {of_tower:.0f} us; known pair {of_known:.1f} us")
    assert of_known < 0.1 * of_new
