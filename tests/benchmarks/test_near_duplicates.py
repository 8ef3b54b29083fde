"""What near duplicates cost and how many of them are found: 20,000 synthetic rows of each kind, 1,000 of them planted.

    python -m pytest tests/benchmarks/test_near_duplicates.py -m benchmark -s

A planted row is another row's content, coded anew or with one word changed. Times are of the processor: what a
fingerprint adds to the decode that an ingest does anyway, to look a known one up, and to search them all; the bytes are
made outside of them.
"""

from __future__ import annotations

import io
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from multimodal.ingest.duplicates.clusters import Neighbours
from multimodal.ingest.duplicates.finder import NearDuplicateFinder
from multimodal.ingest.inputs import chunks
from multimodal.ingest.media import Extra, check_media, load_fingerprints
from multimodal.ingest.options import CheckOptions, IngestOptions
from multimodal.sample import Content, Modality, content_digest

pytestmark = pytest.mark.benchmark
ROWS, PLANTED = 20_000, 1_000
WORDS = ["".join(letters) for letters in np.random.default_rng(0).choice(list("abcdefghijklmnoprstuvw"), (5000, 6))]


def picture(seed: int, planted: bool) -> bytes:
    """A JPEG of smooth shapes; planted, another quality and size."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    drawn = Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    (drawn.resize((96, 96)) if planted else drawn).save(buffer, "JPEG", quality=60 if planted else 90)
    return buffer.getvalue()


def sound(seed: int, planted: bool) -> bytes:
    """Half a second of tones in WAV; planted, MP3 at half the gain and 4 ms later."""
    rng = np.random.default_rng(seed)
    times = np.arange(640) / 8_000
    tones = [sum(np.sin(2 * np.pi * hertz * times) for hertz in rng.uniform(200, 3000, 3)) for _ in range(6)]
    wave = 0.2 * np.concatenate(tones)
    buffer = io.BytesIO()
    if planted:
        soundfile.write(buffer, np.concatenate([np.zeros(32), 0.5 * wave]).astype(np.float32), 8_000, format="MP3")
    else:
        soundfile.write(buffer, wave.astype(np.float32), 8_000, format="WAV")
    return buffer.getvalue()


def text(seed: int, planted: bool) -> bytes:
    """Twelve words; planted, one of them is another."""
    rng = np.random.default_rng(seed)
    words = [WORDS[n] for n in rng.integers(0, len(WORDS), 12)]
    if planted:
        words[int(rng.integers(12))] = "changed"
    return " ".join(words).encode()


def rows(modality: Modality, make: Callable[[int, bool], bytes]) -> Iterator[tuple[int, Content]]:
    """Seed and content; the planted ones repeat the first seeds."""
    for number in range(ROWS):
        planted = number >= ROWS - PLANTED
        seed = number - (ROWS - PLANTED) if planted else number
        data = make(seed, planted)
        yield seed, Content(content_digest(data), modality, data)


def seconds(work: Callable[[], object]) -> float:
    """Of the processor."""
    start = time.process_time()
    work()
    return time.process_time() - start


def decode(content: Content, extra: Extra = Extra.NONE) -> str:
    """What a worker of the sandbox does; the fingerprint, if it is asked for."""
    return check_media(content.data, content.modality, CheckOptions(), extra).fingerprint


def add(finder: NearDuplicateFinder, contents: Sequence[Content]) -> None:
    """What an ingest does with contents, those that lack a fingerprint decoded."""
    if contents[0].modality is Modality.TEXT:
        for content in contents:
            finder.add_text(content.data)
        return
    lacking = finder.lacking([(content.content_id, content.modality) for content in contents])
    for content in contents:
        if (content.content_id, content.modality) in lacking:
            finder.keep(content.content_id, content.modality, decode(content, Extra.FINGERPRINT))
        finder.add(content.content_id, content.modality)


def search(
    options: IngestOptions, workspace: Path, modality: Modality, make: Callable[[int, bool], bytes]
) -> dict[str, Any]:
    """One pass: add all rows, find; with the seconds that both took, and those of the decode without fingerprints."""
    seeds: dict[str, int] = {}
    adding = decoding = 0.0
    with NearDuplicateFinder.open(options, workspace) as finder:
        for chunk in chunks(rows(modality, make), 256):
            seeds |= {content.content_id: seed for seed, content in chunk}
            contents = [content for _, content in chunk]
            if modality is not Modality.TEXT:
                decoding += seconds(lambda contents=contents: [decode(each) for each in contents])
            adding += seconds(lambda contents=contents: add(finder, contents))
        found: list[Neighbours] = []
        finding = seconds(lambda: found.append(finder.find()))
    (near,) = found
    pairs = [(one, two) for cluster in near.clusters().values() for one in cluster for two in near.of(one) if one < two]
    right = sum(seeds[one] == seeds[two] for one, two in pairs)
    return {
        "decoding": decoding,
        "adding": adding,
        "finding": finding,
        "recall": right / PLANTED,
        "precision": right / max(1, len(pairs)),
    }


@pytest.mark.parametrize(
    ("modality", "make", "recall"),
    [(Modality.IMAGE, picture, 0.93), (Modality.AUDIO, sound, 0.9), (Modality.TEXT, text, 0.9)],
    ids=["pictures", "sounds", "texts"],
)
def test_near_duplicates(
    tmp_path: Path, request: pytest.FixtureRequest, modality: Modality, make: Callable[..., bytes], recall: float
) -> None:
    """Planted rows are found, hardly any other; a second pass looks all fingerprints up."""
    handling = {"pictures": "flag", "sounds": "flag", "texts": "flag"}
    source = {"name": "s", "path": tmp_path, "task": "infill"}
    options = IngestOptions(sources=[source], duplicates=handling)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    load_fingerprints(list(Modality))
    first = search(options, tmp_path, modality, make)
    again = search(options, tmp_path, modality, make)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    first["adding"] -= first["decoding"]  # the first pass decodes once more, and makes fingerprints of it
    micro = {name: 1e6 * taken / ROWS for name, taken in first.items() if name.endswith("ing")}
    print(f"\n{request.node.callspec.id}: decode {micro['decoding']:,.0f} us/row, ", end="")
    print(f"fingerprint {micro['adding']:,.0f} more, ", end="")
    print(f"known {1e6 * again['adding'] / ROWS:,.1f} us/row, search {micro['finding']:,.0f} us/row, ", end="")
    print(f"recall {first['recall']:.3f}, precision {first['precision']:.3f}, peak memory +{more:.0f} MB")
    assert first["recall"] >= recall
    assert first["precision"] >= 0.99
    assert (again["recall"], again["precision"]) == (first["recall"], first["precision"])
    assert again["adding"] < 0.5 * first["adding"] or modality is Modality.TEXT
    assert more < 200
