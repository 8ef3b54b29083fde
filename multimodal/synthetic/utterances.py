"""An endless source of spoken sentences about a house and a calendar, each in a formal and an informal wording.

A `Pattern` is one kind of content; its slots are drawn once and put into both wordings, so a pair always says the same.
Everything is lower case, without punctuation and without digits, as a transcript is.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Literal

Style = Literal["formal", "informal"]

_HOURS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

SLOTS: dict[str, tuple[str, ...]] = {
    "state": ("on", "off"),
    "move": ("open", "close"),
    "room": ("kitchen", "bedroom", "hall", "office", "garage", "garden", "nursery"),
    "device": ("lamp", "heater", "radio", "fan", "oven"),
    "opening": ("door", "window", "curtain", "gate"),
    "colour": ("red", "blue", "green", "yellow", "white", "black", "orange", "purple"),
    "day": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    "part": ("morning", "afternoon", "evening"),
    "hour": _HOURS,
    "other_hour": _HOURS,
    "count": _HOURS[1:],
    "degrees": ("fifteen", "eighteen", "twenty", "thirty"),
    "minutes": (*_HOURS[1:], "fifteen", "twenty", "thirty", "forty", "fifty"),
    "person": ("doctor", "dentist", "teacher", "plumber"),
    "chore": (
        "water the roses",
        "feed the cat",
        "walk the dog",
        "wash the car",
        "pay the rent",
        "call my sister",
        "bake the bread",
        "clean the windows",
    ),
    "thing": ("apples", "lemons", "candles", "eggs", "chairs"),
}
"""What may stand in each slot of a pattern."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of content: wordings with the same slots in two styles."""

    formal: tuple[str, ...]
    informal: tuple[str, ...]


PATTERNS = (
    Pattern(
        formal=(
            "please switch {state} the {device} in the {room}",
            "could you switch the {device} in the {room} {state} please",
        ),
        informal=("turn {state} the {room} {device}", "hey turn the {room} {device} {state}"),
    ),
    Pattern(
        formal=("would you kindly switch {state} the {colour} {device} in the {room}",),
        informal=(
            "just turn the {colour} {device} {state} in the {room}",
            "hey turn {state} that {colour} {room} {device}",
        ),
    ),
    Pattern(
        formal=(
            "please set the temperature in the {room} to {degrees} degrees",
            "would you kindly heat the {room} to {degrees} degrees",
        ),
        informal=("make the {room} {degrees} degrees", "let's have {degrees} degrees in the {room}"),
    ),
    Pattern(
        formal=(
            "please change the {device} in the {room} to {colour}",
            "i would like the {device} in the {room} to be {colour}",
        ),
        informal=("make the {room} {device} {colour}", "let's have a {colour} {device} in the {room}"),
    ),
    Pattern(
        formal=(
            "kindly {move} the {colour} {opening} in the {room}",
            "could you {move} the {colour} {opening} in the {room} please",
        ),
        informal=(
            "hey {move} that {colour} {opening} in the {room}",
            "just {move} the {colour} {room} {opening}",
        ),
    ),
    Pattern(
        formal=(
            "please remind me to {chore} on {day} at {hour}",
            "i would like to {chore} on {day} at {hour}",
        ),
        informal=("don't let me forget to {chore} {day} at {hour}", "gotta {chore} {day} at {hour}"),
    ),
    Pattern(
        formal=(
            "i have an appointment with the {person} on {day} at {hour}",
            "my appointment with the {person} is on {day} at {hour}",
        ),
        informal=("i'm seeing the {person} {day} at {hour}", "got the {person} on {day} at {hour}"),
    ),
    Pattern(
        formal=(
            "could you tell me whether the {device} in the {room} is {state}",
            "i would like to know whether the {room} {device} is {state}",
        ),
        informal=("is the {room} {device} {state}", "hey is that {device} in the {room} {state}"),
    ),
    Pattern(
        formal=("please set a timer for {minutes} minutes in the {room}",),
        informal=("gimme {minutes} minutes on the {room} timer",),
    ),
    Pattern(
        formal=(
            "we require {count} {colour} {thing} for {day} {part}",
            "please order {count} {colour} {thing} for {day} {part}",
        ),
        informal=(
            "we need {count} {colour} {thing} {day} {part}",
            "grab {count} {colour} {thing} for {day} {part}",
        ),
    ),
    Pattern(
        formal=(
            "please move the meeting on {day} from {hour} to {other_hour}",
            "the meeting on {day} at {hour} will begin at {other_hour}",
        ),
        informal=("shift the {day} meeting from {hour} to {other_hour}",),
    ),
    Pattern(
        formal=("i am afraid that the {colour} {device} in the {room} is not working",),
        informal=("that {colour} {device} in the {room} is dead", "the {colour} {room} {device} is broken"),
    ),
    Pattern(
        formal=("{count} guests will arrive on {day} {part} at {hour}",),
        informal=("{count} mates are coming {day} {part} at {hour}",),
    ),
)
"""All kinds of content."""


def vocabulary() -> tuple[str, ...]:
    """Every word that an utterance may hold, sorted."""
    texts = [wording for pattern in PATTERNS for wording in (*pattern.formal, *pattern.informal)]
    texts += [filler for fillers in SLOTS.values() for filler in fillers]
    return tuple(sorted({word for text in texts for word in text.split() if not word.startswith("{")}))


def utterance_pair(rng: random.Random) -> tuple[str, str]:
    """The same content twice: (formal, informal)."""
    pattern = rng.choice(PATTERNS)
    slots = {name: rng.choice(fillers) for name, fillers in SLOTS.items()}
    if slots["other_hour"] == slots["hour"]:
        slots["other_hour"] = _HOURS[(_HOURS.index(slots["hour"]) + 1) % len(_HOURS)]
    return rng.choice(pattern.formal).format_map(slots), rng.choice(pattern.informal).format_map(slots)


def random_utterance(rng: random.Random, style: Style | None = None) -> str:
    """One sentence of 4 to 13 words, in the given style or in either."""
    pair = utterance_pair(rng)
    return pair[rng.randrange(2) if style is None else ("formal", "informal").index(style)]


def is_for_corpus(sentence: str) -> bool:
    """True for the third of all sentences that only the sample corpus speaks: encoders are never pretrained on it."""
    return hashlib.sha256(sentence.encode()).digest()[0] % 3 == 0


def corpus_utterance(rng: random.Random, for_corpus: bool) -> str:
    """A sentence of the sample corpus's third, or of the two thirds that pretraining may use."""
    while is_for_corpus(sentence := random_utterance(rng)) != for_corpus:
        pass
    return sentence
