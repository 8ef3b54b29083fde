"""Noise as people and scanners make it: typing slips, reading confusions and lost spaces, endlessly fresh.

The kinds follow the slips that Damerau (1964) counted (wrong, missing, extra and transposed letters), with the wrong
letter taken from the neighbouring keys or from the shapes that optical character recognition confuses.
"""

from __future__ import annotations

import random
from collections.abc import Callable

_KEY_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")

_CONFUSIONS = {
    "rn": ("m",),
    "cl": ("d",),
    "vv": ("w",),
    "ri": ("n",),
    "m": ("rn", "nn"),
    "d": ("cl",),
    "w": ("vv",),
    "l": ("1", "I"),
    "I": ("l", "1"),
    "i": ("l", "1", "j"),
    "O": ("0", "Q"),
    "o": ("0", "c"),
    "e": ("c", "o"),
    "a": ("o", "u"),
    "s": ("5", "z"),
    "S": ("5",),
    "B": ("8", "R"),
    "b": ("6", "h"),
    "h": ("b", "n"),
    "g": ("9", "q"),
    "t": ("f", "+"),
    "u": ("v", "ii"),
    "n": ("ri", "h"),
    "A": ("4",),
    "T": ("I", "7"),
    "z": ("2",),
    "y": ("v",),
}
"""What a reader of print takes a shape for."""


def _key_neighbours() -> dict[str, str]:
    """Each letter's neighbouring keys: beside it in its row, and the two that touch it in the rows above and below."""
    place = {key: (row, column) for row, keys in enumerate(_KEY_ROWS) for column, key in enumerate(keys)}
    offset = (0.0, 0.25, 0.75)
    return {
        key: "".join(
            other
            for other, (other_row, other_column) in place.items()
            if other != key
            and abs(other_row - row) <= 1
            and abs(other_column + offset[other_row] - column - offset[row]) <= 1
        )
        for key, (row, column) in place.items()
    }


_NEIGHBOURS = _key_neighbours()

NOISE_RATES = (0.02, 0.12)
"""Least and greatest share of characters that slip in the sample corpus and in pretraining."""

Slip = tuple[int, str]
"""How many characters a slip eats, and what it leaves in their place."""


def _neighbour(text: str, rng: random.Random) -> Slip | None:
    keys = _NEIGHBOURS.get(text[0].lower())
    if keys is None:
        return None
    key = rng.choice(keys)
    return 1, key.upper() if text[0].isupper() else key


def _drop(text: str, rng: random.Random) -> Slip | None:
    return (1, "") if text[0] != " " else None


def _double(text: str, rng: random.Random) -> Slip | None:
    return (1, text[0] * 2) if text[0].isalnum() else None


def _swap(text: str, rng: random.Random) -> Slip | None:
    return (2, text[1] + text[0]) if text[:2].isalnum() and len(text) > 1 and text[0] != text[1] else None


def _misread(text: str, rng: random.Random) -> Slip | None:
    shape = next((text[:length] for length in (2, 1) if text[:length] in _CONFUSIONS), None)
    return None if shape is None else (len(shape), rng.choice(_CONFUSIONS[shape]))


def _space(text: str, rng: random.Random) -> Slip | None:
    if text[0] == " ":
        return 1, ""
    return (1, text[0] + " ") if text[:2].isalnum() and len(text) > 1 else None


_SLIPS: tuple[tuple[Callable[[str, random.Random], Slip | None], float], ...] = (
    (_neighbour, 3.0),
    (_drop, 2.0),
    (_double, 2.0),
    (_swap, 2.0),
    (_misread, 2.5),
    (_space, 1.0),
)
"""The kinds of slip and how often each is tried."""


def add_noise(text: str, rng: random.Random, rate: float) -> str:
    """The text with slips in about `rate` of its characters, and in at least one.

    Slips never overlap, so none undoes another; the same `rng` state gives the same noise.

    Args:
        text: clean text with at least one letter.
        rng: all that the noise depends on.
        rate: slips per character, 0 to 1; neighbouring slips keep one character between them, so that the
            real rate saturates near 0.4.

    Raises:
        ValueError: the text has no letter in which to slip, or the rate is outside 0 to 1.
    """
    if not any(character.lower() in _NEIGHBOURS for character in text) or not 0 <= rate <= 1:
        raise ValueError(f"noise of rate {rate!r} needs a text with letters and a rate in 0..1, got {text[:40]!r}")
    noisy = _slip_at(text, {place for place in range(len(text)) if rng.random() < rate}, rng)
    while noisy == text:
        noisy = _slip_at(text, {rng.randrange(len(text))}, rng)
    return noisy


def _slip_at(text: str, places: set[int], rng: random.Random) -> str:
    written: list[str] = []
    place = 0
    while place < len(text):
        slip = _random_slip(text[place : place + 2], rng) if place in places else None
        if slip is None:
            written.append(text[place])
            place += 1
        else:
            eaten, left = slip
            written.append(left + text[place + eaten : place + eaten + 1])
            place += eaten + 1
    return "".join(written)


def _random_slip(text: str, rng: random.Random) -> Slip | None:
    kinds, weights = zip(*_SLIPS, strict=True)
    slip: Slip | None = rng.choices(kinds, weights)[0](text, rng)
    return slip
