"""What near-duplicate texts share: bands of a MinHash find them, the Jaccard similarity of their shingles verifies."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import rensa

from multimodal.ingest.duplicates.fingerprint import Fingerprint, fingerprint_version
from multimodal.ingest.duplicates.plain import plain

SHINGLE_CHARS = 4
NUM_PERM = 128
LEAST_RECALL = 0.99
"""Probability at which a pair just at the threshold must share a band."""

SEED = 1
"""A word with no meaning: signatures of different seeds cannot be compared."""


def text_version(least: float) -> str:
    """Of all that a text's fingerprint depends on beside its bytes."""
    code = ("ingest/duplicates/texts.py", "ingest/duplicates/plain.py")
    return f"{fingerprint_version(*code, libraries=('rensa',))}-{rows(least)}"


def rows(least: float) -> int:
    """Rows per band: as many as find a pair of that Jaccard similarity with `LEAST_RECALL`; more find fewer others.

    A pair of similarity s shares one of b bands of r rows with probability 1 - (1 - s^r)^b (Leskovec, Rajaraman and
    Ullman, "Mining of Massive Datasets", section 3.4).
    """
    enough = (r for r in range(16, 1, -1) if 1 - (1 - least**r) ** (NUM_PERM // r) >= LEAST_RECALL)
    return next(enough, 1)


def fingerprint_text(data: bytes, least: float) -> Fingerprint:
    """The fingerprint of a text: 4 bytes for each band of its MinHash (Broder 1997), and the text in plain words."""
    words = plain(data.decode()) or data.decode()
    minhash = rensa.RMinHash(num_perm=NUM_PERM, seed=SEED)
    minhash.update(sorted(shingles(words)))
    per_band = rows(least)
    signature = np.array(minhash.digest(), np.uint64)[: NUM_PERM // per_band * per_band].reshape(-1, per_band)
    mixed = np.zeros(len(signature), np.uint64)
    for column in signature.T:  # a multiplicative hash, modulo 2^64, of which the high half is used
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
    return Fingerprint((mixed >> np.uint64(32)).astype(np.uint32).tobytes(), words.encode(), b"")


@lru_cache(maxsize=2048)
def shingles(words: str) -> frozenset[str]:
    """All runs of `SHINGLE_CHARS` characters; a shorter text is one shingle."""
    return frozenset(words[n : n + SHINGLE_CHARS] for n in range(max(1, len(words) - SHINGLE_CHARS + 1)))


def text_similarity(first: bytes, second: bytes) -> float:
    """Jaccard similarity of the shingles of two proofs."""
    one, two = shingles(first.decode()), shingles(second.decode())
    return len(one & two) / len(one | two)
