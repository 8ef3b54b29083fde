"""All checks, and their run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from multimodal.selfcheck.dynamics import adjusted_langevin, gas_in_a_box, reversed_mixture
from multimodal.selfcheck.finding import Finding
from multimodal.selfcheck.invariance import batch_invariance
from multimodal.selfcheck.likelihood import absorbing_bound, autoregressive_sum


@dataclass(frozen=True, slots=True)
class Check:
    """A check.

    Args:
        name: in a few words.
        meaning: what is compared with what.
        run: takes seconds, draws from fixed seeds.
    """

    name: str
    meaning: str
    run: Callable[[], Finding]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check that was run."""

    check: Check
    finding: Finding
    seconds: float


CHECKS: Sequence[Check] = (
    Check(
        "gas in a closed box",
        "Brownian steps between reflecting walls under the Metropolis rule, against the barometric formula.",
        gas_in_a_box,
    ),
    Check(
        "Gaussian mixture, variance-preserving",
        "Predictor and Metropolis-adjusted corrector on the exact score, against the mixture.",
        lambda: reversed_mixture("vp"),
    ),
    Check(
        "Gaussian mixture, variance-exploding",
        "The same through the other process.",
        lambda: reversed_mixture("ve"),
    ),
    Check(
        "Langevin steps",
        "Where Langevin steps settle with the Metropolis rule, a Gaussian, and without it, a wider one.",
        adjusted_langevin,
    ),
    Check(
        "bound of masked diffusion",
        "The bound on random masks, against the exact likelihood: equal for the exact denoiser, and for one without "
        "context as much above it as context tells.",
        absorbing_bound,
    ),
    Check(
        "likelihood of the autoregressive twin",
        "Probabilities of all texts of a tiny vocabulary by an untrained decoder, against 1.",
        autoregressive_sum,
    ),
    Check(
        "samplers and batches",
        "Texts drawn alone, against the same texts drawn in a batch, for every kind of process.",
        batch_invariance,
    ),
)


def run_checks(checks: Sequence[Check] | None = None) -> Iterator[CheckResult]:
    """Run checks, all of them unless some are named, one after the other."""
    for check in CHECKS if checks is None else checks:
        start = time.perf_counter()
        finding = check.run()
        yield CheckResult(check, finding, time.perf_counter() - start)
