"""Which pairs of fingerprints are worth a second look: those that share a band, window by window."""

from __future__ import annotations

from typing import Any

import numpy as np

WINDOW = 64
"""Neighbours in its bucket that each item is compared with: time grows with the items, even where thousands share a
band. In a bucket of more, two near duplicates further apart may be missed; items of one key lie side by side."""

Array = np.ndarray[Any, Any]


def candidate_pairs(keys: Array, bands: Array, max_bits: int | None) -> Array:
    """Pairs of items that share a band, and whose keys differ in at most `max_bits`.

    Args:
        keys: uint8 [items, key bytes], the items in an order that means nothing (by content id).
        bands: [items, bands].
        max_bits: None takes all pairs.

    Returns:
        int64 [pairs, 2], the smaller number first, each pair once, in order.
    """
    count = len(keys)
    order_of_keys = np.lexsort(keys.T[::-1])
    rank = np.empty(count, np.int64)
    rank[order_of_keys] = np.arange(count)
    hashes = np.ascontiguousarray(keys).view(np.uint64).ravel() if max_bits is not None else None
    found = np.zeros(0, np.int64)
    for band in bands.T:
        order = np.lexsort((rank, band))
        pairs = _pairs_of(order, band[order])
        if hashes is not None and max_bits is not None:
            differ = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])
            pairs = pairs[differ <= max_bits]
        found = np.union1d(found, pairs.min(axis=1) * count + pairs.max(axis=1))
    return np.stack(np.divmod(found, max(count, 1)), axis=1)


def _pairs_of(order: Array, band: Array) -> Array:
    """Pairs of items at most `WINDOW` apart in one bucket: int64 [pairs, 2]."""
    pairs = [np.zeros((0, 2), np.int64)]
    for step in range(1, min(WINDOW, len(order) - 1) + 1):
        same = band[step:] == band[:-step]
        if not same.any():
            break
        pairs.append(np.stack((order[:-step][same], order[step:][same]), axis=1))
    return np.concatenate(pairs)
