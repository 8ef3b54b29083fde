"""The three kinds of fingerprints under one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from multimodal.ingest.duplicates.options import DuplicateOptions
from multimodal.ingest.duplicates.pictures import picture_similarity, picture_version
from multimodal.ingest.duplicates.sounds import sound_similarity, sound_version
from multimodal.ingest.duplicates.texts import text_similarity, text_version
from multimodal.sample import Modality

MAX_PICTURE_BITS, MAX_SOUND_BITS = 10, 6
"""Of 64 in which the perceptual hashes of near duplicates may differ. Short sounds have hashes that are like many
others', and are the slower ones to verify."""

BYTE_PAIRS = list(combinations(range(8), 2))
"""Six bits that differ lie in at most six of a hash's eight bytes: two bytes are the same, and so is one such pair.
Of hashes that differ in 8 bits at random places, 90 in 100 share a pair; of those that differ in 10, 67."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """How contents of one modality are compared.

    Args:
        version: of all that a fingerprint depends on beside the content.
        bands: keys as bytes [items, key bytes] -> bands [items, bands]; near duplicates share at least one.
        max_bits: in which the keys of a pair may differ; None where keys say no more than their bands.
        similarity: of two proofs.
        least: similarity of near duplicates.
    """

    modality: Modality
    version: str
    bands: Callable[[Array], Array]
    max_bits: int | None
    similarity: Callable[[bytes, bytes], float]
    least: float


def kind_of(modality: Modality, options: DuplicateOptions) -> Kind:
    """The kind of a modality."""
    least = options.least(modality)
    if modality is Modality.IMAGE:
        return Kind(modality, picture_version(), hash_bands, MAX_PICTURE_BITS, picture_similarity, least)
    if modality is Modality.AUDIO:
        return Kind(modality, sound_version(), hash_bands, MAX_SOUND_BITS, sound_similarity, least)
    return Kind(modality, text_version(least), minhash_bands, None, text_similarity, least)


def hash_bands(keys: Array) -> Array:
    """Pairs of bytes of 64-bit hashes: uint8 [items, 8] -> uint16 [items, 28]."""
    wide = keys.astype(np.uint16)
    return np.stack([wide[:, one] << 8 | wide[:, two] for one, two in BYTE_PAIRS], axis=1)


def minhash_bands(keys: Array) -> Array:
    """The bands that a key is made of: uint8 [items, 4 * bands] -> uint32 [items, bands]."""
    return np.ascontiguousarray(keys).view(np.uint32)
