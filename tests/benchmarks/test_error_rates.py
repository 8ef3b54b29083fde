"""Word error rate of 100,000 pairs, beside jiwer's, in one run on the same machine.

python -m pytest tests/benchmarks/test_error_rates.py -s        about half a minute
"""

from __future__ import annotations

import random
import time

import jiwer
import pytest

from multimodal.evaluation.error_rates import wer

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

PAIRS = 100_000
WORDS = tuple(f"word{number}" for number in range(2000))


def pairs() -> tuple[list[str], list[str]]:
    """References of 5 to 20 words, and hypotheses with about one word in eight replaced, left out or put in."""
    rng = random.Random(0)
    references, hypotheses = [], []
    for _ in range(PAIRS):
        words = rng.choices(WORDS, k=rng.randint(5, 20))
        heard = [part for word in words for part in _heard(word, rng)]
        references.append(" ".join(words))
        hypotheses.append(" ".join(heard))
    return hypotheses, references


def _heard(word: str, rng: random.Random) -> tuple[str, ...]:
    chance = rng.random()
    if chance < 0.04:
        return ()
    if chance < 0.08:
        return (word, rng.choice(WORDS))
    return (rng.choice(WORDS) if chance < 0.12 else word,)


def test_word_error_rate_is_not_slower_than_jiwer():
    """The same rate in no more time."""
    hypotheses, references = pairs()
    started = time.perf_counter()
    ours = wer(hypotheses, references)
    own_seconds = time.perf_counter() - started
    started = time.perf_counter()
    theirs = jiwer.process_words(references, hypotheses)
    jiwer_seconds = time.perf_counter() - started
    print(f"\nWER of {PAIRS} pairs: {own_seconds:.2f} s, jiwer {jiwer_seconds:.2f} s")
    assert ours.value == pytest.approx(theirs.wer, abs=1e-12)
    assert (ours.counts["substitutions"], ours.counts["deletions"], ours.counts["insertions"]) == (
        theirs.substitutions,
        theirs.deletions,
        theirs.insertions,
    )
    assert own_seconds <= jiwer_seconds
