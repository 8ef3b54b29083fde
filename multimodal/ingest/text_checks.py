"""What a text may be refused for beyond being empty or too long; a source that needs none of it asks for none."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from pathlib import PurePosixPath

from multimodal.errors import MediaError
from multimodal.ingest.languages import identify, language_number, letter_bytes
from multimodal.ingest.measures import Measures
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.reasons import Reason

PATTERNS = {
    "markup": re.compile(
        r"</?[a-z][a-z0-9]*(\s[^<>]*)?/?>|&(?:[a-z]+|#\d+);|\[\[[^\]]*\]\]|\{\{[^}]*\}\}", re.IGNORECASE
    ),
    "url": re.compile(r"\bhttps?://\S|\bwww\.\w", re.IGNORECASE),
    "email": re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"),
    "phone": re.compile(r"(?<![\w.])\+?\(?\d{2,4}\)?(?:[ /.-]?\d{2,4}){2,4}(?![\w.])"),
    "secret": re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bxox[abprs]-\w{10}"
        r"|\b(?:password|passwd|api[_-]?key|secret)\s*[:=]\s*\S{6}",
        re.IGNORECASE,
    ),
}
REASONS = {
    "markup": Reason.TEXT_MARKUP,
    "url": Reason.TEXT_URL,
    "email": Reason.PERSONAL_DATA,
    "phone": Reason.PERSONAL_DATA,
    "secret": Reason.PERSONAL_DATA,
    "control": Reason.CONTROL_CHARACTERS,
    "file_name": Reason.TEXT_IS_FILE_NAME,
}


def check_text(text: str, path: str, checks: CheckOptions, measures: Measures | None = None) -> None:
    """Refuse what `checks.refuse_texts`, `checks.scripts` and `checks.languages` name.

    Args:
        text: normalised.
        path: of the row's media, "" where it has none.
        measures: receives what a threshold is held against, refused or not.

    Raises:
        MediaError: with the reason; details never repeat an address, number or secret.
    """
    for name in checks.refuse_texts:
        if _holds(name, text, path):
            raise MediaError(REASONS[name], f"the text of {len(text)} characters holds: {name.replace('_', ' ')}")
    measures = {} if measures is None else measures
    if checks.scripts:
        _check_script(text, checks, measures)
    if checks.languages and letter_bytes(text) >= checks.min_language_bytes:
        _check_language(text, checks, measures)


@lru_cache(maxsize=4096)
def script(letter: str) -> str:
    """The script of a letter: the first word of its Unicode name (`LATIN`, `CYRILLIC`, `CJK`)."""
    return unicodedata.name(letter, "UNNAMED").split()[0]


def _holds(name: str, text: str, path: str) -> bool:
    if name == "control":
        # Cc, Cf, Co, Cn: control, invisible, private and unassigned; joiners shape letters and emoji.
        return any(unicodedata.category(char)[0] == "C" and char not in "\u200c\u200d" for char in text)
    if name == "file_name":
        file = PurePosixPath(path)
        return bool(path) and text.lower() in (path.lower(), file.name.lower(), file.stem.lower())
    return PATTERNS[name].search(text) is not None


def _check_script(text: str, checks: CheckOptions, measures: Measures) -> None:
    letters = [char for char in text if char.isalpha()]
    known = sum(script(char) in checks.scripts for char in letters)
    measures["script_share"] = known / len(letters) if letters else 1.0
    if known < checks.min_script_share * len(letters):
        detail = f"{known} of {len(letters)} letters are {' or '.join(checks.scripts)}"
        raise MediaError(Reason.WRONG_SCRIPT, f"{detail}, at least {checks.min_script_share:.0%}")


def _check_language(text: str, checks: CheckOptions, measures: Measures) -> None:
    language, confidence = identify(text, checks.languages)
    measures |= {"language": language_number(language), "language_confidence": confidence}
    if confidence < checks.min_language_confidence:
        detail = f"most likely {language}; {confidence:.1%} likely to be {' or '.join(checks.languages)}"
        raise MediaError(Reason.WRONG_LANGUAGE, f"{detail}, at least {checks.min_language_confidence:.1%}")
