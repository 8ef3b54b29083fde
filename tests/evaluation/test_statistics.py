"""Intervals cover what they promise, tests reject what they promise, seeds spread as they do."""

import numpy as np
import pytest
import scipy.stats

from multimodal.errors import MultimodalError
from multimodal.evaluation.statistics import (
    bootstrap_interval,
    draw_counts,
    paired_bootstrap,
    paired_permutation,
    seed_spread,
)


def mean_of(values):
    values = np.asarray(values, dtype=float)
    return lambda counts: counts @ values / len(values)


def test_every_resample_draws_as_many_samples_as_there_are():
    """Counts of each resample sum to n, and each sample is drawn once on average."""
    counts = draw_counts(50, 2000, np.random.default_rng(0))
    assert (counts.sum(axis=1) == 50).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=0.1)


def test_the_interval_of_a_mean_is_that_of_scipy():
    """The percentile interval agrees with scipy.stats.bootstrap within what resampling varies."""
    values = np.random.default_rng(1).gamma(2.0, size=200)
    mine = bootstrap_interval(mean_of(values), 200, np.random.default_rng(0), resamples=10_000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert mine == pytest.approx(tuple(theirs), abs=0.01)


def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says():
    """Of 400 intervals at 90 % about 360 hold the true mean."""
    generator, held = np.random.default_rng(3), 0
    for _ in range(400):
        values = generator.normal(size=100)
        low, high = bootstrap_interval(mean_of(values), 100, generator, resamples=200, confidence=0.9)
        held += low <= 0 <= high
    assert 335 <= held <= 380


def test_an_interval_is_the_same_for_the_same_seed_and_however_it_is_cut(monkeypatch):
    """Blocks of resamples draw the same as all at once."""
    values = np.arange(10.0)
    first = bootstrap_interval(mean_of(values), 10, np.random.default_rng(0))
    monkeypatch.setattr("multimodal.evaluation.statistics._BLOCK", 70)
    assert bootstrap_interval(mean_of(values), 10, np.random.default_rng(0)) == first


def test_a_constant_has_no_width():
    """Samples that all score the same leave nothing to chance."""
    assert bootstrap_interval(mean_of([0.5] * 8), 8, np.random.default_rng(0)) == (0.5, 0.5)


@pytest.mark.parametrize("test", [paired_bootstrap, paired_permutation])
def test_no_difference_is_rejected_as_often_as_the_level_says(test):
    """At 5 % about 20 of 400 comparisons of equal models come out significant."""
    generator = np.random.default_rng(5)
    rejected = 0
    for _ in range(400):
        a, b = generator.normal(size=(2, 60))
        rejected += test(a, b, generator=generator, resamples=200).p_value <= 0.05
    assert 8 <= rejected <= 36


@pytest.mark.parametrize("test", [paired_bootstrap, paired_permutation])
def test_a_difference_of_three_standard_errors_is_found(test):
    """A clear gain is significant, the same loss is not, and the gain is the difference of the means."""
    generator = np.random.default_rng(6)
    b = generator.normal(size=100)
    a = b + generator.normal(0.3, 1, size=100)
    won, lost = test(a, b), test(b, a)
    assert won.gain == pytest.approx(float(np.mean(a - b))) == -lost.gain
    assert won.p_value < 0.01 < 0.9 < lost.p_value
    assert won.samples == won.groups == 100


def test_the_permutation_test_of_few_pairs_is_exact():
    """All sign flips are tried, as scipy does."""
    a, b = [3.1, 2.0, 4.4, 5.0, 1.9, 2.6], [2.0, 2.2, 3.0, 4.1, 1.0, 2.5]
    theirs = scipy.stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", alternative="greater",
        vectorized=True, n_resamples=np.inf,
    )  # fmt: skip
    assert paired_permutation(a, b).p_value == pytest.approx(theirs.pvalue)
    assert paired_permutation([1, 1], [1, 1]).p_value == 1


def test_the_bounds_of_a_gain_hold_it():
    """The one-sided bound lies between the two-sided one and the gain."""
    a = np.random.default_rng(7).normal(1, 1, size=50)
    found = paired_bootstrap(a, np.zeros(50))
    assert found.interval[0] < found.lower < found.gain < found.interval[1]


def test_groups_are_drawn_whole():
    """Copies of one speaker's clips add no evidence: ten copies of each of five pairs are as unsure as five pairs."""
    a = [0.1, 0.5, -0.2, 0.4, 0.3]
    grouped = paired_bootstrap(np.repeat(a, 10), np.zeros(50), [index // 10 for index in range(50)])
    alone, pretended = paired_bootstrap(a, np.zeros(5)), paired_bootstrap(np.repeat(a, 10), np.zeros(50))
    assert grouped.interval == pytest.approx(alone.interval)
    assert grouped.p_value == alone.p_value > pretended.p_value
    assert (grouped.samples, grouped.groups) == (50, 5)
    assert paired_permutation(np.repeat(a, 10), np.zeros(50), [index // 10 for index in range(50)]).p_value == (
        paired_permutation(a, np.zeros(5)).p_value
    )


def test_groups_weigh_by_their_samples():
    """The gain is the mean over samples, whatever the groups."""
    assert paired_bootstrap([1.0, 1.0, 4.0], [0.0] * 3, ["x", "x", "y"]).gain == 2


@pytest.mark.parametrize("test", [paired_bootstrap, paired_permutation])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [(([], []), "0 values"), (([1.0], [1.0, 2.0]), "1 values with 2"), (([np.nan], [1.0]), "1 of 1 pairs")],
)
def test_what_cannot_be_paired_is_refused(test, arguments, message):
    """The message says how many there are."""
    with pytest.raises(MultimodalError, match=message):
        test(*arguments)


def test_a_bootstrap_of_nothing_is_refused():
    """An empty split is said."""
    with pytest.raises(MultimodalError, match="at least one sample"):
        bootstrap_interval(mean_of([]), 0, np.random.default_rng(0))


def test_the_spread_over_three_seeds():
    """Mean and sample standard deviation; of a single run there is none."""
    assert seed_spread([0.70, 0.72, 0.77]) == pytest.approx((0.73, 0.036055512754639904))
    with pytest.raises(MultimodalError, match="at least two seeds"):
        seed_spread([0.7])
