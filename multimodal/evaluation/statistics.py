"""How sure a score is: bootstrap intervals, paired tests of two models, the spread over seeds.

Everything resamples whole samples, or whole groups of them (speakers), never words. A bootstrap is a matrix of how
often each sample was drawn in each resample: the statistic of all resamples is then one product with the samples'
sufficient statistics, corpus BLEU included (`multimodal.evaluation.sufficient`).

Bisani and Ney, Bootstrap estimates for confidence intervals in ASR performance evaluation, ICASSP 2004.
Koehn, Statistical significance tests for machine translation evaluation, EMNLP 2004.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from multimodal.errors import MultimodalError

FloatArray = npt.NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]
"""Times each sample was drawn, float64 [resamples, n] -> the statistic of each resample [resamples]."""

_BLOCK = 2_000_000  # draws held at once: 16 MB
_EXACT_UP_TO = 12  # groups whose sign flips are all tried
_ROUNDING = 1e-12  # sums in another order differ in their last digits: no more than that is no difference


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two models on the same samples.

    Args:
        gain: mean of the first minus the second.
        p_value: one-sided: how likely a gain as large is if the first is no better.
        samples: pairs compared.
        groups: independent groups that they fall into; `samples` where none were named.
        interval: two-sided interval of the gain; of a permutation test None.
        lower: one-sided lower bound of the gain; of a permutation test None.
    """

    gain: float
    p_value: float
    samples: int
    groups: int
    interval: tuple[float, float] | None = None
    lower: float | None = None


def bootstrap_interval(
    statistic: Statistic,
    n: int,
    generator: np.random.Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """The percentile interval of a statistic of n samples (Efron 1979).

    Args:
        statistic: see `Statistic`; it is called a few times with some of the resamples each.
        n: samples.
        generator: draws the resamples.
        resamples: how many.
        confidence: share of the resamples inside.

    Raises:
        MultimodalError: there is no sample.
    """
    if n < 1:
        raise MultimodalError("a bootstrap needs at least one sample, got none: check what the split holds")
    block = max(1, _BLOCK // n)
    sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
    values = np.concatenate([statistic(draw_counts(n, size, generator)) for size in sizes])
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def draw_counts(n: int, resamples: int, generator: np.random.Generator) -> FloatArray:
    """How often each of n samples is drawn when n are drawn with replacement, float64 [resamples, n]."""
    drawn = generator.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)


def paired_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    *,
    generator: np.random.Generator | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> PairedTest:
    """Whether the mean of `a` is greater than that of `b`, by resampling pairs (Koehn 2004) or groups of pairs.

    Args:
        a: values of the first model by sample, higher is better.
        b: of the second, of the same samples.
        groups: what each sample shares with those that are not independent of it (its speaker); None: all are.
        generator: draws the resamples; by default one seeded with 0.
        resamples: how many.
        confidence: of `interval` (two-sided) and `lower` (one-sided).

    Raises:
        MultimodalError: the values are none, not as many as each other, or not finite.
    """
    sums, sizes = _grouped(a, b, groups)
    drawn = np.empty(resamples)
    generator = generator or np.random.default_rng(0)
    block = max(1, _BLOCK // len(sums))
    for start in range(0, resamples, block):
        counts = draw_counts(len(sums), min(block, resamples - start), generator)
        drawn[start : start + block] = (counts @ sums) / (counts @ sizes)
    low, high, lower = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2, 1 - confidence])
    nothing = _ROUNDING * float(np.abs(sums).sum() / sizes.sum())
    p_value = (1 + int((drawn <= nothing).sum())) / (1 + resamples)
    gain = float(sums.sum() / sizes.sum())
    return PairedTest(gain, p_value, len(a), len(sums), (float(low), float(high)), float(lower))


def paired_permutation(
    a: Sequence[float],
    b: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    *,
    generator: np.random.Generator | None = None,
    resamples: int = 1000,
) -> PairedTest:
    """Whether the mean of `a` is greater than that of `b`, by swapping the models at random within pairs or groups.

    Exact where there are at most 12 groups: all sign flips are tried. Otherwise (Phipson and Smyth 2010)
    the observed one counts as one of the flips. Arguments and errors as `paired_bootstrap`.
    """
    sums, sizes = _grouped(a, b, groups)
    observed, count = float(sums.sum()), len(sums)
    close = observed - _ROUNDING * float(np.abs(sums).sum())
    if count <= _EXACT_UP_TO:
        bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        p_value = float(((1 - 2 * bits) @ sums >= close).mean())
    else:
        generator = generator or np.random.default_rng(0)
        block = max(1, _BLOCK // count)
        found = sum(
            int((generator.choice((-1.0, 1.0), size=(min(block, resamples - start), count)) @ sums >= close).sum())
            for start in range(0, resamples, block)
        )
        p_value = (1 + found) / (1 + resamples)
    return PairedTest(observed / float(sizes.sum()), p_value, len(a), count)


def seed_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) of the scores of runs that differ in their seed alone.

    Raises:
        MultimodalError: there are fewer than two.
    """
    if len(values) < 2:
        raise MultimodalError(f"a spread needs at least two seeds, got {len(values)}: run the job with another `seed`")
    return float(np.mean(values)), float(np.std(values, ddof=1))


def _grouped(
    a: Sequence[float], b: Sequence[float], groups: Sequence[Hashable] | None
) -> tuple[FloatArray, FloatArray]:
    """Sum of the differences in each group, and how many they are; both [groups]."""
    if not len(a) or len(a) != len(b) or (groups is not None and len(groups) != len(a)):
        named = "" if groups is None else f" in {len(groups)} named groups"
        raise MultimodalError(f"cannot pair {len(a)} values with {len(b)}{named}: compare the same samples")
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    if not np.isfinite(differences).all():
        missing = int((~np.isfinite(differences)).sum())
        raise MultimodalError(f"{missing} of {len(a)} pairs have no finite values: leave those samples out")
    if groups is None:
        return differences, np.ones(len(differences))
    position = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    rows = np.array([position[group] for group in groups])
    return np.bincount(rows, weights=differences).astype(np.float64), np.bincount(rows).astype(np.float64)
