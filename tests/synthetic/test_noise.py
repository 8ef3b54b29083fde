"""Noise: always something, never more than asked for, the same for the same random state."""

import random

import pytest
from jiwer import cer

from multimodal.synthetic.noise import add_noise

CLEAN = "a small red star is left of a large blue ring and the grass is below"


def test_always_changes_the_text():
    """Even at rate 0 one slip is made."""
    rng = random.Random(0)
    assert all(add_noise(text, rng, 0.0) != text for text in (CLEAN, "turn it on", "l.", "A") for _ in range(200))


def test_is_decided_by_the_random_state():
    """Equal states give equal noise, another seed gives other noise."""
    first, again, other = (add_noise(CLEAN, random.Random(seed), 0.2) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("rate", [0.02, 0.06, 0.12])
def test_error_rate_follows_the_rate(rate):
    """Over a corpus, the character error rate is near the rate asked for: most slips are one edit, a swap is two."""
    rng = random.Random(1)
    noisy = [add_noise(CLEAN, rng, rate) for _ in range(400)]
    assert 0.75 * rate < cer([CLEAN] * len(noisy), noisy) < 1.5 * rate


def test_makes_every_kind_of_slip():
    """Neighbouring keys, dropped, doubled and swapped letters, misread shapes, lost and extra spaces all occur."""
    rng = random.Random(2)
    seen = {add_noise("warn on", rng, 0.0) for _ in range(3000)}
    slips = {"qarn on", "wrn on", "waarn on", "awrn on", "wam on", "vvarn on", "warnon", "wa rn on", "warn 0n"}
    assert slips <= seen


def test_keeps_the_case_of_a_neighbouring_key():
    """A capital letter slips to a capital letter."""
    rng = random.Random(5)
    wrong = {add_noise("Q", rng, 0.0) for _ in range(200)}
    assert {"W", "A"} <= wrong and not {"w", "a"} & wrong


@pytest.mark.parametrize(("text", "rate"), [("", 0.1), ("12 + 3", 0.1), (CLEAN, -0.1), (CLEAN, 1.5)])
def test_refuses_what_it_cannot_do(text, rate):
    """A text without letters and a rate outside 0 to 1 are refused."""
    with pytest.raises(ValueError, match="needs a text with letters"):
        add_noise(text, random.Random(0), rate)
