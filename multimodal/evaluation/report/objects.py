"""What captions leave out and what they invent: objects of drawn scenes, words of described photographs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from multimodal.evaluation.items import Item
from multimodal.evaluation.report.word_errors import most_common


@dataclass(frozen=True, slots=True)
class ObjectCounts:
    """One kind of object (or word): in how many places it is there, is not named, is named without being there."""

    name: str
    there: int
    missing: int
    invented: int


@dataclass(frozen=True, slots=True)
class ObjectErrors:
    """Objects of a task's pictures; `kind` says whether scenes or reference captions know what is there."""

    kind: str
    there: int
    missing: int
    invented: int
    pictures_with_invented: int
    samples: int
    objects: tuple[ObjectCounts, ...]


def object_errors(items: Sequence[Item], hypotheses: Sequence[str]) -> ObjectErrors | None:
    """Objects that captions miss or invent, as (colour, shape) where scenes are described, else as content words.

    A word is there when at least half of two or more references say it, and invented when none does (after CHAIR,
    Rohrbach et al. 2018, whose word list of objects is replaced by the references' own words). None where neither a
    scene nor a second reference tells.
    """
    drawn = [index for index, item in enumerate(items) if item.scene is not None]
    if drawn:
        names = {shape for index in drawn for _, shape in _drawn(items[index])}
        colours = {colour for index in drawn for colour, _ in _drawn(items[index])}
        triples = [
            (
                Counter(" ".join(pair) for pair in _drawn(items[index])),
                Counter(_named(hypotheses[index], colours, names)),
            )
            for index in drawn
        ]
        return _count("object", [(there, there, named) for there, named in triples])
    described = [index for index, item in enumerate(items) if len(item.references) > 1]
    if not described:
        return None
    return _count("word", [_words_of(items[index].references, hypotheses[index]) for index in described])


def _count(kind: str, triples: Sequence[tuple[Counter[str], Counter[str], Counter[str]]]) -> ObjectErrors:
    """Sums over pictures of (what must be named, what may be named, what is named)."""
    there, missing, invented = Counter[str](), Counter[str](), Counter[str]()
    pictures = 0
    for expected, allowed, named in triples:
        there += expected
        missing += expected - named
        invented += named - allowed
        pictures += bool(named - allowed)
    worst = most_common(missing + invented)
    rows = tuple(ObjectCounts(name, there[name], missing[name], invented[name]) for name in worst)
    return ObjectErrors(kind, there.total(), missing.total(), invented.total(), pictures, len(triples), rows)


def _drawn(item: Item) -> list[tuple[str, str]]:
    scene = item.scene
    objects = scene.get("objects") if isinstance(scene, Mapping) else None
    things = [thing for thing in objects or () if isinstance(thing, Mapping)]
    return [(str(thing.get("colour", "")), str(thing.get("shape", ""))) for thing in things]


def _named(hypothesis: str, colours: set[str], shapes: set[str]) -> Iterator[str]:
    """Each shape that a caption names, with the colour word just before it."""
    words = ["", *_words(hypothesis)]
    for before, word in pairwise(words):
        if word in shapes:
            yield f"{before} {word}" if before in colours else word


def _words_of(references: Sequence[str], hypothesis: str) -> tuple[Counter[str], Counter[str], Counter[str]]:
    said = [_content_words(reference) for reference in references]
    votes = Counter(word for words in said for word in words)
    agreed = {word for word, count in votes.items() if 2 * count >= len(said) and count > 1}
    return Counter(agreed), Counter(set(votes)), Counter(_content_words(hypothesis))


def _content_words(text: str) -> set[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # slow to import, and needed by few reports

    return {word for word in _words(text) if word not in ENGLISH_STOP_WORDS and len(word) > 2}


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())
