"""What is done to texts before their errors are counted; the choice is part of every error rate's signature.

    none        nothing
    basic       Whisper's `BasicTextNormalizer`: lower case, no brackets, no symbols (Radford et al. 2022, appendix C)
    english     Whisper's `EnglishTextNormalizer`: also contractions, titles, numbers in digits, American spelling
    open_asr    the Open ASR leaderboard's: `english` with ellipses and abbreviations ("u.s.a.") closed up first;
                samples whose reference is empty then are not scored

The rules of numbers and the list of spellings come from the package whisper-normalizer (MIT), a copy of
openai/whisper's. Its contractions hold four more than Whisper's ("kinda", "sorta", "dunno", "cause"): they are left
out here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Literal

from multimodal.errors import MultimodalError

NormaliserName = Literal["none", "basic", "english", "open_asr"]
Normaliser = Callable[[str], str]

_ADDED = {r"\bkinda\b", r"\bsorta\b", r"\bdunno\b", r"\bcause\b"}
_NUMERIC_SYMBOLS = ".%$¢€£"
_KEPT = 100_000  # texts whose normal form is remembered: references come again with every control

_BRACKETS = re.compile(r"[<\[][^>\]]*[>\]]")
_PARENTHESES = re.compile(r"\(([^)]+?)\)")
_FILLERS = re.compile(r"\b(hmm|mm|mhm|mmm|uh|um)\b")
_SPACE_BEFORE_APOSTROPHE = re.compile(r"\s+'")
_ABBREVIATIONS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b([a-z])\.([a-z])\.([a-z])\.s\b", r"\1\2\3s"),
        (r"\b([a-z])\.([a-z])\.([a-z])\.([a-z])\.?\b", r"\1\2\3\4"),
        (r"\b([a-z])\.([a-z])\.([a-z])\.?\b", r"\1\2\3"),
        (r"\b([a-z])\.([a-z])\.?\b", r"\1\2"),
        (r"\b([a-z])\.\s+([a-z])\.\s+([a-z])\.\s+([a-z])\.\b", r"\1\2\3\4"),
        (r"\b([a-z])\.\s+([a-z])\.\s+([a-z])\.\b", r"\1\2\3"),
        (r"\b([a-z])\.\s+([a-z])\.\b", r"\1\2"),
        (r"\b([a-z])\.([a-z])\.([a-z])\.'s\b", r"\1\2\3s"),
    )
)
"""Of the leaderboard's normalizer.py, in its order."""


def normaliser_of(name: NormaliserName) -> Normaliser:
    """The function that normalises one text; results are remembered.

    Raises:
        MultimodalError: there is no such normaliser.
    """
    if name not in _NORMALISERS:
        raise MultimodalError(f"there is no text normaliser {name!r}; choose one of {', '.join(_NORMALISERS)}")
    return _NORMALISERS[name]


def normaliser_signature(name: NormaliserName) -> str:
    """The name, with the version of the package whose rules it uses."""
    return name if name == "none" else f"{name},whisper-normalizer:{version('whisper-normalizer')}"


def is_scored(name: NormaliserName, reference: str) -> bool:
    """Whether a sample with this reference counts: the leaderboard leaves out references that say nothing."""
    if name != "open_asr":
        return True
    return normaliser_of(name)(reference).strip() not in {"", "ignore time segment in scoring"}


def none(text: str) -> str:
    """The text itself."""
    return text


@lru_cache(maxsize=_KEPT)
def whisper_basic(text: str) -> str:
    """Whisper's `BasicTextNormalizer`, diacritics kept."""
    return str(_basic()(text))


@lru_cache(maxsize=_KEPT)
def whisper_english(text: str) -> str:
    """Whisper's `EnglishTextNormalizer`."""
    return _english(text.lower())


@lru_cache(maxsize=_KEPT)
def open_asr(text: str) -> str:
    """The Open ASR leaderboard's `EnglishTextNormalizer`."""
    text = re.sub(r"\.{3,}\s*$", "", text.lower())
    return _english(re.sub(r"\s*\.{3,}\s*", " ", text), close_abbreviations=True)


_NORMALISERS: dict[str, Normaliser] = {
    "none": none,
    "basic": whisper_basic,
    "english": whisper_english,
    "open_asr": open_asr,
}


def _english(text: str, close_abbreviations: bool = False) -> str:
    """The steps of Whisper's english.py on a lower-case text, in their order."""
    rules = _rules()
    text = _FILLERS.sub("", _PARENTHESES.sub("", _BRACKETS.sub("", text)))
    text = _SPACE_BEFORE_APOSTROPHE.sub("'", text)
    if close_abbreviations and "." in text:
        for pattern, replacement in _ABBREVIATIONS:
            text = pattern.sub(replacement, text)
    for literal, pattern, replacement in rules.contractions:
        if literal in text:  # fifty searches of a regular expression for each text would cost a millisecond
            text = pattern.sub(replacement, text)
    text = re.sub(r"(\d),(\d)", r"\1\2", text)
    text = re.sub(r"\.([^0-9]|$)", r" \1", text)
    text = rules.without_symbols(text)
    text = rules.spellings(rules.numbers(text))
    text = re.sub(r"[.$¢€£]([^0-9])", r" \1", text)
    text = re.sub(r"([^0-9])%", r"\1 ", text)
    return re.sub(r"\s+", " ", text)


class _Rules:
    """The parts of the package whisper-normalizer that `_english` puts together."""

    def __init__(self) -> None:
        from whisper_normalizer.basic import remove_symbols_and_diacritics  # loads `regex`, for those who need it
        from whisper_normalizer.english import EnglishTextNormalizer

        theirs = EnglishTextNormalizer()
        self.numbers: Normaliser = theirs.standardize_numbers
        self.spellings: Normaliser = theirs.standardize_spellings
        self._remove = remove_symbols_and_diacritics
        self._ascii = {code: str(self._remove(chr(code), keep=_NUMERIC_SYMBOLS)) for code in range(128)}
        self.contractions = tuple(
            (pattern.replace(r"\b", ""), re.compile(pattern), replacement)
            for pattern, replacement in theirs.replacers.items()
            if pattern not in _ADDED
        )

    def without_symbols(self, text: str) -> str:
        """Symbols become spaces and diacritics are dropped, but for the symbols of numbers."""
        if text.isascii():
            return text.translate(self._ascii)
        return str(self._remove(text, keep=_NUMERIC_SYMBOLS))


@cache
def _rules() -> _Rules:
    return _Rules()


@cache
def _basic() -> Normaliser:
    from whisper_normalizer.basic import BasicTextNormalizer

    made: Normaliser = BasicTextNormalizer()
    return made
