"""Descriptions of scenes in a closed grammar, written with varied wording and read back exactly.

    caption    := [opening] clause {"and" clause} background   or   background [opening] clause {"and" clause}
    clause     := object ["is"] where {"and" where}
    object     := article size colour shape
    where      := place | relation object

Objects are named in reading order, as people do; a description that began anywhere would leave a writer that
unmasks many words at once to guess which object comes first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from multimodal.synthetic.scenes import BACKGROUNDS, COLOURS, SHAPES, Scene, SceneObject

_ARTICLES = ("a", "an", "one", "the")
_OPENINGS = {
    None: ("", "there is", "here is"),
    "formal": ("the picture shows", "this image depicts"),
    "informal": ("there's", "look at"),
}
_SIZES = {
    None: {"small": ("small",), "large": ("large",)},
    "formal": {"small": ("small",), "large": ("large",)},
    "informal": {"small": ("tiny",), "large": ("big",)},
}
_ROWS = (("top", "upper"), ("", ""), ("bottom", "lower"))
_COLUMNS = ("left", "", "right")
_RELATIONS: dict[str, dict[str | None, tuple[str, ...]]] = {
    "above": {None: ("above",), "formal": ("situated above",), "informal": ("over",)},
    "below": {None: ("below",), "formal": ("situated below",), "informal": ("under",)},
    "left": {None: ("to the left of",), "formal": ("situated left of",), "informal": ("left of",)},
    "right": {None: ("to the right of",), "formal": ("situated right of",), "informal": ("right of",)},
}
_HOLDS: dict[str, Callable[[SceneObject, SceneObject], bool]] = {
    "above": lambda first, second: first.row < second.row,
    "below": lambda first, second: first.row > second.row,
    "left": lambda first, second: first.column < second.column,
    "right": lambda first, second: first.column > second.column,
}
_BACKGROUND = {
    "grass": ("on the grass", "on green grass"),
    "sand": ("on the sand", "on yellow sand"),
    "sky": ("in the sky", "before a blue sky"),
    "night": ("at night", "in the dark night"),
    "brick": ("on a brick wall", "before red bricks"),
    "grey": ("on grey ground", "on a grey wall"),
}


def describe_scene(scene: Scene, rng: Random, style: str | None = None) -> str:
    """A description of 8 to 25 words that names each object with its size, colour and shape, and where it is.

    Args:
        scene: one to three objects.
        rng: chooses the wording.
        style: "formal", "informal", or None for plain.
    """
    opening, first = _pick(rng, _OPENINGS[style]), rng.random() < 0.3 and style is None
    background, body = _background_phrase(scene.background, rng, style), _clauses(scene, rng, style)
    if len(scene.objects) == 3:
        opening = ""  # else the longest would have more than 25 words
    parts = (background, opening, body) if first else (opening, body, background)
    return " ".join(part for part in parts if part)


def _pick(rng: Random, options: Sequence[str]) -> str:
    """One of the options, with one draw whatever their number: so that a scene described twice from the same state
    in two styles is described with the same choices."""
    return options[int(rng.random() * len(options))]


def _background_phrase(background: str, rng: Random, style: str | None) -> str:
    phrases = {None: _pick(rng, _BACKGROUND[background]), "formal": f"against a {background} background"}
    return phrases.get(style, _BACKGROUND[background][0])


def _clauses(scene: Scene, rng: Random, style: str | None) -> str:
    objects = sorted(scene.objects, key=lambda thing: thing.cell)
    names = [_name(thing, rng, style) for thing in objects]
    if len(objects) == 1:
        return f"{names[0]} {_place(objects[0], style)}"
    if len(objects) == 2 and rng.random() < 0.4:
        return " and ".join(f"{name} {_place(thing, style)}" for name, thing in zip(names, objects, strict=True))
    if len(objects) == 2 and rng.random() < 0.15:
        objects, names = objects[::-1], names[::-1]
    text = f"{names[0]} {_relation(objects[0], objects[1], rng, style)} {names[1]}"
    if len(objects) == 3:
        if rng.random() < 0.5:
            text += f" and {names[2]} {_place(objects[2], style)}"
        else:
            text += f" and {_relation(objects[0], objects[2], rng, style)} {names[2]}"
    return text


def _name(thing: SceneObject, rng: Random, style: str | None) -> str:
    return f"a {_pick(rng, _SIZES[style][thing.size])} {thing.colour} {thing.shape}"


def _place(thing: SceneObject, style: str | None) -> str:
    row, column = _ROWS[thing.row][style == "formal"], _COLUMNS[thing.column]
    if not row and not column:
        return "in the centre" if style == "formal" else "in the middle"
    words = " ".join(part for part in (row, column) if part)
    return f"at the {words}"


def _relation(first: SceneObject, second: SceneObject, rng: Random, style: str | None) -> str:
    true = [name for name, holds in _HOLDS.items() if holds(first, second)]
    return _pick(rng, _RELATIONS[_pick(rng, true)][style])


@dataclass(frozen=True, slots=True)
class CaptionCheck:
    """What a caption gets right about a scene.

    Args:
        objects: its shapes are the scene's, each as often.
        colours: its (colour, shape) pairs are the scene's.
        sizes: its (size, colour, shape) triples are the scene's.
        relations: the caption is wholly understood: it gives each object a place or a relation, and the background;
            and all of that holds.
    """

    objects: bool
    colours: bool
    sizes: bool
    relations: bool

    @property
    def exact(self) -> bool:
        """All of it."""
        return self.objects and self.colours and self.sizes and self.relations


def check_caption(caption: str, scene: Scene) -> CaptionCheck:
    """Hold a caption against the scene that it should describe; text outside of the grammar is wrong."""
    reading = _Reading(re.findall(r"[a-z']+", caption.lower()), scene)
    understood = reading.caption()
    named = reading.named
    return CaptionCheck(
        objects=Counter(shape for _, _, shape in named) == Counter(thing.shape for thing in scene.objects),
        colours=Counter(named_pair[1:] for named_pair in named) == Counter(thing.pair for thing in scene.objects),
        sizes=Counter(named) == Counter((thing.size, *thing.pair) for thing in scene.objects),
        relations=understood and reading.holds,
    )


def _phrases(table: Iterable[tuple[str, str]]) -> list[tuple[tuple[str, ...], str]]:
    """(words, meaning), the longest first, so that a phrase is never taken for its beginning."""
    return sorted(((tuple(phrase.split()), meaning) for phrase, meaning in table), key=lambda entry: -len(entry[0]))


_RELATION_PHRASES = _phrases(
    (phrase, name) for name, styles in _RELATIONS.items() for words in styles.values() for phrase in words
)
_BACKGROUND_PHRASES = _phrases(
    (phrase, name) for name in BACKGROUNDS for phrase in (*_BACKGROUND[name], f"against a {name} background")
)
_OPENING_PHRASES = _phrases((phrase, "") for words in _OPENINGS.values() for phrase in words if phrase)
_PLACE_PHRASES = _phrases(
    (_place(SceneObject("", "", "", row, column, 0), style), f"{row}{column}")
    for row in range(3)
    for column in range(3)
    for style in (None, "formal")
)
_SIZE_OF = {word: size for sizes in _SIZES.values() for size, words in sizes.items() for word in words}


class _Reading:
    """A recursive descent through the words of one caption."""

    def __init__(self, words: Sequence[str], scene: Scene) -> None:
        self.words, self.scene = list(words), scene
        self.at = 0
        self.named: list[tuple[str, str, str]] = []
        self.holds = True

    def caption(self) -> bool:
        """Whether all words are understood, every object has its place or relation, and one background is stated."""
        before = self._background()
        self._phrase(_OPENING_PHRASES)
        understood = self._clause()
        while understood and self._word("and"):
            understood = self._clause()
        return understood and before != self._background() and self.at == len(self.words)

    def _clause(self) -> bool:
        subject = self._object()
        if subject is None:
            return False
        self._word("is")
        understood = self._where(subject)
        while understood and self._another_where():
            understood = self._where(subject)
        return understood

    def _where(self, subject: tuple[str, str, str]) -> bool:
        place = self._phrase(_PLACE_PHRASES)
        if place is not None:
            thing = self._find(subject)
            self.holds &= thing is not None and f"{thing.row}{thing.column}" == place
            return True
        relation = self._phrase(_RELATION_PHRASES)
        if relation is None:
            return False
        other = self._object()
        first, second = self._find(subject), self._find(other)
        self.holds &= first is not None and second is not None and _HOLDS[relation](first, second)
        return other is not None

    def _another_where(self) -> bool:
        """Step over an "and" that a place or relation follows; one that a clause follows is left where it is."""
        start = self.at
        if self._word("and"):
            inside = self.at
            if self._phrase(_PLACE_PHRASES) is not None or self._phrase(_RELATION_PHRASES) is not None:
                self.at = inside
                return True
        self.at = start
        return False

    def _object(self) -> tuple[str, str, str] | None:
        words = self.words[self.at : self.at + 4]
        if len(words) < 4 or words[0] not in _ARTICLES:
            return None
        _, size, colour, shape = words
        if size not in _SIZE_OF or colour not in COLOURS or shape not in SHAPES:
            return None
        self.at += 4
        self.named.append((_SIZE_OF[size], colour, shape))
        return self.named[-1]

    def _find(self, named: tuple[str, str, str] | None) -> SceneObject | None:
        return next((thing for thing in self.scene.objects if named and thing.pair == named[1:]), None)

    def _background(self) -> bool:
        """Whether a background is stated here."""
        background = self._phrase(_BACKGROUND_PHRASES)
        self.holds &= background in (None, self.scene.background)
        return background is not None

    def _phrase(self, phrases: Sequence[tuple[tuple[str, ...], str]]) -> str | None:
        for words, meaning in phrases:
            if tuple(self.words[self.at : self.at + len(words)]) == words:
                self.at += len(words)
                return meaning
        return None

    def _word(self, word: str) -> bool:
        if self.at < len(self.words) and self.words[self.at] == word:
            self.at += 1
            return True
        return False
