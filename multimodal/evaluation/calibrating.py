"""Fits what a model's probabilities are worth on texts that it wrote for the validation split."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from multimodal.evaluation.items import Item
from multimodal.evaluation.outcomes import judge
from multimodal.generation import Generation
from multimodal.generation.calibration import TRUSTED, Calibration, logit, sigmoid

FEWEST = 20
"""Texts below which a task stays as it is: a fit to fewer says more of them than of the model."""

FEWEST_TRUSTED = 10
"""Texts that must stand behind a threshold of trust."""


def fit_calibration(items: Sequence[Item], generations: Sequence[Generation | None]) -> Calibration:
    """The calibration of one task.

    Args:
        items: of one task, of the val split.
        generations: what the model wrote for each, with its raw confidences; None where it refused. Those without a
            score (NaN) are left out.

    Returns:
        The identity where fewer than `FEWEST` texts were written.
    """
    pairs = [
        (item, found) for item, found in zip(items, generations, strict=True) if found and math.isfinite(found.score)
    ]
    if len(pairs) < FEWEST:
        return Calibration()
    outcomes = [judge(*pair) for pair in pairs]
    stated = np.array([p for outcome in outcomes for p in outcome.confidences])
    right = np.array([hit for outcome in outcomes for hit in outcome.right], dtype=np.float64)
    scores = np.array([found.score for _, found in pairs])
    shares = np.array([outcome.share for outcome in outcomes])
    slope, intercept = _platt(logit(scores), shares)
    calibrated = sigmoid(slope * logit(scores) + intercept)
    return Calibration(_temperature(logit(stated), right), slope, intercept, _trusted_from(calibrated, shares))


def _temperature(logits: np.ndarray, right: np.ndarray) -> float:
    """The temperature that makes the outcomes likeliest, between a twentieth and 20."""
    if not len(logits):
        return 1.0
    found = minimize_scalar(
        lambda log_t: _loss(sigmoid(logits / np.exp(log_t)), right), bounds=(-3.0, 3.0), method="bounded"
    )
    return float(np.exp(found.x))


def _platt(logits: np.ndarray, shares: np.ndarray) -> tuple[float, float]:
    """Slope and intercept by logistic regression on shares; the slope is never negative, so that order stays."""
    from sklearn.linear_model import LogisticRegression  # a second to load

    both = np.concatenate([logits, logits])[:, None]
    outcomes = np.repeat([1, 0], len(logits))
    weights = np.concatenate([shares, 1 - shares]) + 1e-3  # smoothed: texts that are all right have no finite slope
    fit = LogisticRegression(C=1e2).fit(both, outcomes, sample_weight=weights)
    slope = float(fit.coef_[0, 0])
    if slope < 0:
        mean = float(np.clip(shares.mean(), 1e-3, 1 - 1e-3))
        return 0.0, float(logit(mean))
    return slope, float(fit.intercept_[0])


def _trusted_from(confidences: np.ndarray, shares: np.ndarray) -> float:
    """Least confidence from which texts hold `TRUSTED` right words on average."""
    order = np.argsort(-confidences, kind="stable")
    means = np.cumsum(shares[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero((means >= TRUSTED) & (np.arange(1, len(order) + 1) >= FEWEST_TRUSTED))
    return float(confidences[order[good[-1]]]) if len(good) else float(np.nextafter(1, 2))


def _loss(probabilities: np.ndarray, right: np.ndarray) -> float:
    p = np.clip(probabilities, 1e-9, 1 - 1e-9)
    return float(-(right * np.log(p) + (1 - right) * np.log(1 - p)).mean())
