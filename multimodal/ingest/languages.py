"""Which language a text is in: naive Bayes over n-grams of its UTF-8 bytes, offline, with a model of 4.6 MB.

py3langid (Barbaresi), after langid.py (Lui and Baldwin 2012, "langid.py: An Off-the-shelf Language Identification
Tool"). It is loaded with the first text, which takes a second; a text takes some 50 us.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

LANGUAGES = (
    "ace", "af", "am", "an", "ar", "ary", "arz", "as", "az", "ba", "bcl", "be", "bg", "bn", "br", "bs", "ca", "crh",
    "cs", "cy", "da", "de", "dz", "el", "en", "eo", "es", "et", "eu", "ext", "fa", "fi", "fo", "fr", "fuv", "fy", "ga",
    "gcf", "gcr", "gd", "gl", "gom", "grc", "gu", "gug", "guw", "ha", "hbo", "he", "hi", "hr", "ht", "hu", "hy", "id",
    "ig", "is", "it", "ja", "jv", "ka", "kab", "kik", "kk", "km", "kn", "ko", "ku", "ky", "la", "lb", "lg", "lij",
    "ln", "lo", "lt", "ltg", "lv", "mg", "mk", "ml", "mn", "mr", "ms", "mt", "my", "ne", "nl", "nn", "no", "nso", "oc",
    "om", "or", "pa", "pcm", "pl", "ps", "pt", "qu", "ro", "ru", "rw", "sa", "sdh", "se", "si", "sk", "sl", "sn", "so",
    "sq", "sr", "st", "sv", "sw", "ta", "te", "tg", "th", "tk", "tl", "tr", "tt", "ug", "uk", "ur", "uz", "uzs", "vec",
    "vi", "vo", "wa", "wuu", "xh", "yo", "yue", "zh", "zu",
)  # fmt: skip
"""ISO 639 codes of the languages that are told apart."""

ENOUGH_BYTES = 10
"""Of letters, in UTF-8: shorter texts are in any language. Seven letters of Cyrillic and four of Han are enough."""


def letter_bytes(text: str) -> int:
    """How much of a text there is to judge by: the bytes of its letters in UTF-8."""
    return sum(len(char.encode("utf-8", "surrogatepass")) for char in text if char.isalpha())


@lru_cache(maxsize=4096)
def identify(text: str, among: tuple[str, ...] = ()) -> tuple[str, float]:
    """The language that a text is most likely in, and the probability, from 0 to 1, that it is in one of `among`.

    The second is what a check can go by: short texts are often taken for a close relative of their language (Danish
    for Norwegian) and then share the probability with it. Without `among` it is that of the first.
    """
    ranked = _identifier().rank(text)
    language, likelihood = ranked[0]
    if among:
        by_code = dict(ranked)
        likelihood = sum(by_code[code] for code in among)
    return str(language), round(min(1.0, float(likelihood)), 4)


def language_number(code: str) -> int:
    """A code as a number that single precision holds exactly: its letters as bytes."""
    return int.from_bytes(code.encode("ascii"))


def language_code(number: int) -> str:
    """The code of a `language_number`."""
    return number.to_bytes(3).lstrip(b"\0").decode("ascii")


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
