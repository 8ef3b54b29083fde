"""Whether a stated confidence is the share that is right: the expected calibration error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multimodal.errors import MultimodalError
from multimodal.evaluation.score import Score

BINS = 15
"""Of equal width, as in Guo et al. (2017)."""


def expected_calibration_error(confidences: Sequence[float], right: Sequence[float], bins: int = BINS) -> Score:
    """ECE, 0 to 1: the gap between mean confidence and share right in each bin, weighted by its samples.

    Bins are of equal width and closed above (Guo et al. 2017, equation 3). `counts` hold mean confidence and share
    right of all samples: confident and wrong shows as the first above the second.

    Args:
        confidences: 0 to 1.
        right: whether each came out right, 0 or 1, or how much of it.
        bins: how many.

    Raises:
        MultimodalError: the lists are empty or of different length, or a confidence is not between 0 and 1.
    """
    stated, hits = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(stated) or len(stated) != len(hits):
        raise MultimodalError(f"cannot hold {len(stated)} confidences against {len(hits)} outcomes")
    if not ((stated >= 0) & (stated <= 1)).all():
        raise MultimodalError(f"confidences are 0 to 1; got {stated.min():g} to {stated.max():g}")
    places = np.clip(np.ceil(stated * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=stated - hits, minlength=bins)
    counts = {"confidence": float(stated.mean()), "right": float(hits.mean()), "samples": len(stated)}
    return Score("ece", float(np.abs(gaps).sum() / len(stated)), counts, f"ece:{bins} equal bins,l1")
