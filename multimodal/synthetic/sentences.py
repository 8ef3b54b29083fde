"""Written sentences of the two sample domains, scenes and household talk, in a formal and an informal wording."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from multimodal.synthetic.descriptions import describe_scene
from multimodal.synthetic.noise import NOISE_RATES, add_noise
from multimodal.synthetic.scenes import random_scene
from multimodal.synthetic.utterances import is_for_corpus, random_utterance, utterance_pair

STYLES = ("formal", "informal")
_CLEAN_SHARE = 0.15


class _SteadyRandom(random.Random):
    """Uses up one number per choice, however many things there are to choose from.

    Two styles offer different numbers of words; with the plain `choice` they would part ways at the first of them, and
    one wording would name places where the other tells relations.
    """

    def choice(self, seq: Any) -> Any:
        return seq[int(self.random() * len(seq))]


@dataclass(frozen=True, slots=True)
class Wordings:
    """The same content in both styles.

    Args:
        formal, informal: two different sentences.
        group: what they share: the scene's combination, or the formal sentence itself.
    """

    formal: str
    informal: str
    group: str

    @property
    def sentences(self) -> tuple[str, str]:
        """In the order of `STYLES`."""
        return self.formal, self.informal


def describe_twice(rng: random.Random) -> Wordings:
    """A random scene (never one that is held out), described with the same choices in both styles."""
    while True:
        scene, choices = random_scene(rng), rng.getrandbits(64)
        formal, informal = (describe_scene(scene, _SteadyRandom(choices), style) for style in STYLES)
        if "background" in formal:  # long descriptions leave it out, and then the styles do not say the same
            return Wordings(formal, informal, scene.combination)


def utter_twice(rng: random.Random) -> Wordings:
    """A random utterance in both styles."""
    formal, informal = utterance_pair(rng)
    return Wordings(formal, informal, formal)


def corpus_wordings(rng: random.Random, of_scenes: bool) -> Wordings:
    """Wordings of the third of all sentences that only the sample corpus holds, in both styles."""
    while True:
        wordings = describe_twice(rng) if of_scenes else utter_twice(rng)
        if all(is_for_corpus(sentence) for sentence in wordings.sentences):
            return wordings


def noisy_sentence(rng: random.Random) -> tuple[str, str]:
    """(noisy, clean) of a sentence that the sample corpus does not hold, to pretrain on; some are left clean."""
    clean = _any_sentence(rng)
    while is_for_corpus(clean):
        clean = _any_sentence(rng)
    return (clean if rng.random() < _CLEAN_SHARE else add_noise(clean, rng, rng.uniform(*NOISE_RATES))), clean


def _any_sentence(rng: random.Random) -> str:
    """A description in one of three styles (plain is the third), or an utterance in one of two."""
    if rng.random() < 0.5:
        return random_utterance(rng)
    return describe_scene(random_scene(rng), rng, rng.choice((None, *STYLES)))
