"""How a dataset differs from its predecessor: shares, words and measured values, by PSI and Kolmogorov-Smirnov.

The population stability index of two sets of shares p (before) and q (now) is the sum of (q - p) ln(q / p) (Siddiqi
2006, "Credit Risk Scorecards"); shares of nothing count as 0.0001. Measured values are binned at the deciles of the
predecessor. Below 0.1 a shift is usually called small, above 0.25 large; so it is for some hundreds of samples and
more, since chance alone brings about (bins - 1) * (1 / n_before + 1 / n_now).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multimodal.ingest.drift_features import DatasetFeatures, Values, read_features
from multimodal.ingest.options import DriftOptions

LEAST_SHARE = 1e-4
DECILES = np.linspace(0, 1, 11)[1:-1]


@dataclass(frozen=True, slots=True)
class Drift:
    """One feature of a dataset beside its predecessor's; None where a number does not apply.

    Args:
        feature: what is compared, `<modality or task>.<name>` where it is of one.
        before, now: the number of rows; the commonest category; or the median.
        psi: population stability index.
        ks, p_value: two-sample Kolmogorov-Smirnov statistic, and how often chance alone gives one as large.
        change: relative change of a number of rows.
        unseen: share of words that the predecessor does not hold.
    """

    feature: str
    before: str
    now: str
    psi: float | None = None
    ks: float | None = None
    p_value: float | None = None
    change: float | None = None
    unseen: float | None = None


@dataclass(frozen=True, slots=True)
class DriftReport:
    """A dataset beside its predecessor.

    Args:
        dataset, predecessor: their fingerprints; the predecessor's is "" for the first dataset of a pipeline.
        drifts: one per feature that both have; none without a predecessor.
        exceeded: what goes beyond a threshold, as sentences.
    """

    dataset: str
    predecessor: str = ""
    drifts: tuple[Drift, ...] = ()
    exceeded: tuple[str, ...] = ()


def compare_datasets(dataset: Path, predecessor: Path, options: DriftOptions) -> DriftReport:
    """Compare two finished datasets, of folders `dataset/<fp>` whose ledgers lie where ingest writes them.

    Raises:
        DatasetError: one of them is not there.
    """
    drifts = tuple(_drifts(read_features(predecessor), read_features(dataset)))
    exceeded = tuple(sentence for drift in drifts for sentence in _exceeded(drift, options))
    return DriftReport(dataset.name, predecessor.name, drifts, exceeded)


def population_stability(before: Sequence[float] | Values, now: Sequence[float] | Values) -> float:
    """PSI of two lists of counts over the same bins; 0 for equal shares. Both must count something."""
    counts = np.array([before, now], np.float64)
    p, q = np.maximum(counts / counts.sum(axis=1, keepdims=True), LEAST_SHARE)
    return float(((q - p) * np.log(q / p)).sum())


def psi_of_values(before: Values, now: Values) -> float:
    """PSI of measured values, in bins between the deciles of `before`; a value that several deciles share is a bin."""
    edges, times = np.unique(np.quantile(before, DECILES), return_counts=True)
    edges = np.union1d(edges, np.nextafter(edges[times > 1], np.inf))
    bins = [np.searchsorted(edges, values.astype(np.float64), side="right") for values in (before, now)]
    return population_stability(*(np.bincount(each, minlength=len(edges) + 1) for each in bins))


def psi_of_counts(before: Mapping[str, int], now: Mapping[str, int]) -> float:
    """PSI of counts by name; a name that one of them lacks counts 0 there."""
    names = sorted(before.keys() | now.keys())
    return population_stability(*([counts.get(name, 0) for name in names] for counts in (before, now)))


def _drifts(before: DatasetFeatures, now: DatasetFeatures) -> Iterator[Drift]:
    change = now.rows / before.rows - 1 if before.rows else None
    yield Drift("rows", f"{before.rows:,}", f"{now.rows:,}", change=change)
    for name in (name for name in before.categories if name in now.categories):
        old, new = before.categories[name], now.categories[name]
        if sum(old.values()) and sum(new.values()):
            yield Drift(name, _commonest(old), _commonest(new), psi=psi_of_counts(old, new))
    for name in (name for name in before.vocabularies if name in now.vocabularies):
        yield _vocabulary(name, before.vocabularies[name], now.vocabularies[name])
    for name in (name for name in before.values if name in now.values):
        yield _measured(name, before.values[name], now.values[name])


def _vocabulary(name: str, before: Mapping[str, int], now: Mapping[str, int]) -> Drift:
    total = sum(now.values())
    unseen = sum(count for word, count in now.items() if word not in before) / total
    old, new = f"{len(before):,} words", f"{len(now):,} words"
    return Drift(name, old, new, psi=psi_of_counts(*_common_words(before, now)), unseen=unseen)


def _common_words(before: Mapping[str, int], now: Mapping[str, int], most: int = 1000) -> list[dict[str, int]]:
    """Counts of the predecessor's commonest words, all others together: rare words come and go by chance."""
    common = sorted(before, key=lambda word: (-before[word], word))[:most]
    kept = [{word: counts.get(word, 0) for word in common} for counts in (before, now)]
    return [
        each | {"": sum(counts.values()) - sum(each.values())} for each, counts in zip(kept, (before, now), strict=True)
    ]


def _measured(name: str, before: Values, now: Values) -> Drift:
    from scipy.stats import ks_2samp  # takes half a second to load, and only a second dataset needs it

    test: Any = ks_2samp(before, now, method="asymp")
    return Drift(
        name, f"median {np.median(before):.4g}", f"median {np.median(now):.4g}", psi=psi_of_values(before, now),
        ks=float(test.statistic), p_value=float(test.pvalue),
    )  # fmt: skip


def _commonest(counts: Mapping[str, int]) -> str:
    name = max(counts, key=lambda one: (counts[one], one))
    return f"{name or 'none'} {counts[name] / sum(counts.values()):.1%}"


def _exceeded(drift: Drift, options: DriftOptions) -> Iterator[str]:
    judged = (
        ("psi", "PSI", drift.psi, options.psi),
        ("ks", "KS statistic", drift.ks, options.ks),
        ("rows", "relative change", None if drift.change is None else abs(drift.change), options.rows),
        ("unseen_words", "share of unseen words", drift.unseen, options.unseen_words),
    )
    for key, title, value, most in judged:
        if value is not None and most is not None and value > most:
            where = f"{drift.before} before, {drift.now} now"
            yield f"{drift.feature}: {title} {value:.3g}, at most {most:g} (ingest.drift.{key}); {where}"
