from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multimodal.ingest.duplicates.fingerprint import fingerprint_version
from multimodal.ingest.duplicates.kinds import MAX_PICTURE_BITS, hash_bands, kind_of
from multimodal.ingest.duplicates.options import DuplicateOptions
from multimodal.ingest.duplicates.pictures import fingerprint_picture, picture_similarity
from multimodal.ingest.duplicates.search import candidate_pairs
from multimodal.ingest.pictures import decode_picture
from multimodal.sample import Modality

SCENES = Path(__file__).parents[3] / "data/sample/scenes"
LEAST = DuplicateOptions().min_picture_similarity


def prints_of(data):
    return fingerprint_picture(decode_picture(data))


def again(data, scale=1.0, kind="JPEG", **save):
    """The picture, coded anew."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    buffer = io.BytesIO()
    picture.resize([round(side * scale) for side in picture.size], Image.Resampling.BICUBIC).save(buffer, kind, **save)
    return buffer.getvalue()


def bits_apart(first, second):
    return int(np.bitwise_count(np.frombuffer(first.key, np.uint64) ^ np.frombuffer(second.key, np.uint64))[0])


def are_near(first, second):
    one, two = prints_of(first), prints_of(second)
    return bits_apart(one, two) <= MAX_PICTURE_BITS and picture_similarity(one.proof, two.proof) >= LEAST


@pytest.mark.parametrize(
    "changes", [{"quality": 90}, {"quality": 40}, {"quality": 80, "scale": 2}, {"quality": 80, "scale": 0.5}]
)
def test_a_picture_coded_anew_is_found(photograph, changes):
    """Another quality and another size make no other picture."""
    for seed in range(10):
        original = photograph(seed)
        assert are_near(original, again(original, **changes)), seed


def test_scenes_coded_anew_are_found_and_different_ones_are_not():
    """Of 300 drawn scenes no two are near, not even those that differ in a shape or a colour; their copies are."""
    files = [path.read_bytes() for path in sorted(SCENES.iterdir())[:300]]
    prints = [prints_of(data) for data in files]
    near = [
        (one, two)
        for one, two in combinations(range(len(prints)), 2)
        if bits_apart(prints[one], prints[two]) <= MAX_PICTURE_BITS
        and picture_similarity(prints[one].proof, prints[two].proof) >= LEAST
    ]
    assert near == []
    found = [are_near(data, again(data, quality=60)) for data in files[:50]]
    assert sum(found) >= 48


def test_a_colour_alone_makes_another_picture(photograph):
    """The hash of the luma cannot tell them apart; the block means do."""
    pixels = np.array(Image.open(io.BytesIO(photograph(1))))
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, ::-1].copy()).save(buffer, "PNG")
    assert not are_near(photograph(1), buffer.getvalue())


def test_the_same_pixels_in_another_file_are_the_same_content(photograph):
    """PNG and BMP hold the same pixels; a JPEG does not."""
    prints = [prints_of(data) for data in (photograph(1), photograph(1, "BMP"), photograph(1, "JPEG"))]
    assert prints[0].decoded == prints[1].decoded != prints[2].decoded
    assert picture_similarity(prints[0].proof, prints[1].proof) == 1


def test_a_blank_picture_is_like_its_copy_only():
    """What has no contrast has a similarity too, and noise does not decide it."""

    def blank(level):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), (level, level, level)).save(buffer, "PNG")
        return prints_of(buffer.getvalue()).proof

    assert picture_similarity(blank(100), blank(100)) == 1
    assert picture_similarity(blank(100), blank(150)) == 0


def test_hashes_six_bits_apart_always_share_a_band():
    """Whatever six bits of 64 differ, two bytes stay as they are: no pair is missed."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, 8, dtype=np.uint8)
    for _ in range(200):
        bits = np.unpackbits(base)
        bits[rng.choice(64, 6, replace=False)] ^= 1
        keys = np.stack([base, np.packbits(bits)])
        assert candidate_pairs(keys, hash_bands(keys), 6).tolist() == [[0, 1]]
        assert candidate_pairs(keys, hash_bands(keys), 5).tolist() == []


def test_a_version_names_code_and_library():
    """A fingerprint of other code, or of another library, is made anew."""
    kind = kind_of(Modality.IMAGE, DuplicateOptions())
    assert kind.version != kind_of(Modality.AUDIO, DuplicateOptions()).version
    assert kind.version != fingerprint_version("ingest/duplicates/pictures.py", libraries=("imagehash",))
