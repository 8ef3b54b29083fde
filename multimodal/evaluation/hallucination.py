"""CHAIR: objects that a caption names and the picture does not show (Rohrbach et al. 2018).

A word list says which words name which object. Where objects are known from annotations, those of a picture are given;
where only reference captions are, `objects_in` finds the objects that they name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from multimodal.errors import MultimodalError
from multimodal.evaluation.captions import Tokeniser
from multimodal.evaluation.ptb import ptb_words
from multimodal.evaluation.score import Score


@dataclass(frozen=True)
class WordList:
    """Which words and phrases name which object, e.g. `{"puppy": "dog", "dog": "dog", "hot dog": "hot dog"}`.

    The longest phrase wins, so that a hot dog is no dog. Plurals in -s and -es count without being listed.

    Args:
        objects: phrase, lower case -> object.
        name: for the signature.
    """

    objects: Mapping[str, str]
    name: str = "given"

    @cached_property
    def _phrases(self) -> dict[tuple[str, ...], str]:
        plurals = {f"{phrase}{end}": thing for phrase, thing in self.objects.items() for end in ("s", "es")}
        return {tuple(phrase.split()): thing for phrase, thing in (plurals | dict(self.objects)).items()}

    @cached_property
    def _longest(self) -> int:
        return max((len(phrase) for phrase in self._phrases), default=0)

    def mentions(self, text: str, tokenise: Tokeniser = ptb_words) -> list[str]:
        """The object of every mention in a text, in order."""
        return list(self._found(tokenise(text)))

    def _found(self, words: Sequence[str]) -> Iterator[str]:
        place = 0
        while place < len(words):
            for length in range(min(self._longest, len(words) - place), 0, -1):
                thing = self._phrases.get(tuple(words[place : place + length]))
                if thing is not None:
                    yield thing
                    place += length
                    break
            else:
                place += 1


@dataclass(frozen=True, slots=True)
class Mentions:
    """The objects of one caption held against its picture.

    Args:
        named: object of every mention, in order.
        hallucinated: those of `named` that are not there.
        missing: objects that are there and not named, sorted.
    """

    named: tuple[str, ...]
    hallucinated: tuple[str, ...]
    missing: tuple[str, ...]


def mentions_of_each(
    hypotheses: Sequence[str], present: Sequence[Collection[str]], words: WordList, tokenise: Tokeniser = ptb_words
) -> list[Mentions]:
    """What each caption names rightly, wrongly and not at all.

    Args:
        hypotheses: captions.
        present: the objects of each picture.
        words: the word list.
        tokenise: the tokeniser.

    Raises:
        MultimodalError: the lists are empty or of different length.
    """
    if not hypotheses or len(hypotheses) != len(present):
        raise MultimodalError(
            f"cannot score {len(hypotheses)} hypotheses against the objects of {len(present)} pictures"
        )
    made = []
    for hypothesis, there in zip(hypotheses, present, strict=True):
        named = words.mentions(hypothesis, tokenise)
        wrong = tuple(thing for thing in named if thing not in there)
        made.append(Mentions(tuple(named), wrong, tuple(sorted(set(there) - set(named)))))
    return made


def chair_i(mentions: Sequence[Mentions], words: WordList) -> Score:
    """CHAIRi: hallucinated mentions over all mentions, 0 to 1; 0 where nothing is mentioned."""
    wrong, named = sum(len(one.hallucinated) for one in mentions), sum(len(one.named) for one in mentions)
    counts = {"hallucinated": wrong, "mentions": named, "samples": len(mentions)}
    return Score("chair_i", wrong / max(1, named), counts, _signature("mentions", words))


def chair_s(mentions: Sequence[Mentions], words: WordList) -> Score:
    """CHAIRs: captions with a hallucinated object over all captions, 0 to 1."""
    wrong = sum(bool(one.hallucinated) for one in mentions)
    counts = {"hallucinated": wrong, "samples": len(mentions)}
    return Score("chair_s", wrong / max(1, len(mentions)), counts, _signature("captions", words))


def objects_in(references: Sequence[str], words: WordList, tokenise: Tokeniser = ptb_words) -> frozenset[str]:
    """The objects that any of a picture's reference captions names."""
    return frozenset(thing for text in references for thing in words.mentions(text, tokenise))


def _signature(unit: str, words: WordList) -> str:
    return f"chair:{unit}|words:{words.name},{len(words.objects)}"
