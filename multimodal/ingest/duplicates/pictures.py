"""What near-duplicate pictures share: a perceptual hash that finds them, and block means that verify them."""

from __future__ import annotations

import imagehash
import numpy as np
from PIL import Image

from multimodal.ingest.duplicates.decoded import picture_digest
from multimodal.ingest.duplicates.fingerprint import Fingerprint, fingerprint_version

SIDE = 64
"""Pixels that a picture is brought to first: whatever its size was, the two hashes see the same scale."""

BLOCKS = 16
NOISE = 2.0
"""Levels of 255 that block means differ by for no reason."""


def picture_version() -> str:
    """Of all that a picture's fingerprint depends on beside its bytes."""
    code = ("ingest/duplicates/decoded.py", "ingest/duplicates/pictures.py", "ingest/pictures.py")
    return fingerprint_version(*code, libraries=("imagehash", "numpy", "pillow"))


def fingerprint_picture(picture: Image.Image) -> Fingerprint:
    """The fingerprint of a decoded picture.

    Its key is the 64-bit pHash (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions") of
    the luma; its proof the mean colour of 16 x 16 blocks (block mean value hash, Yang et al. 2006, kept unquantised and
    in colour: scenes that differ in nothing but a colour have one pHash), 768 bytes.

    Args:
        picture: RGB.
    """
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    bits = imagehash.phash(small).hash
    means = np.asarray(small.resize((BLOCKS, BLOCKS), Image.Resampling.BOX))
    return Fingerprint(np.packbits(bits).tobytes(), means.tobytes(), picture_digest(picture))


def picture_similarity(first: bytes, second: bytes) -> float:
    """1 less the squared difference of two proofs over the sum of their variances, 0 at least.

    Of pictures of one mean it is about their correlation: a small shape on a plain ground weighs as much as the whole
    of a busy picture. `NOISE` keeps what a codec does to a blank one from weighing at all.
    """
    one, two = (np.frombuffer(proof, np.uint8).reshape(-1, 3).astype(np.float32) for proof in (first, second))
    spread = float(one.var(axis=0).mean() + two.var(axis=0).mean()) + 2 * NOISE**2
    return max(0.0, 1 - float(np.mean((one - two) ** 2)) / spread)
