"""What a text must be like, whatever the model thinks: words that must or must not be in it, its ends, its length."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from multimodal.errors import RequestError


@dataclass(frozen=True, slots=True)
class Constraints:
    """Hard constraints on one text. Words are compared whole and without case.

    Args:
        must_contain, must_not_contain: words or runs of words.
        prefix, suffix: how the text begins and ends.
        min_words, max_words: bounds of its length; None: free.
    """

    must_contain: tuple[str, ...] = ()
    must_not_contain: tuple[str, ...] = ()
    prefix: str = ""
    suffix: str = ""
    min_words: int | None = None
    max_words: int | None = None

    def __bool__(self) -> bool:
        return self != Constraints()

    def violations(self, text: str) -> tuple[str, ...]:
        """What is wrong with a text, in words; empty where nothing is."""
        count = len(text.split())
        found = [f"lacks '{words}'" for words in self.must_contain if not find(words, text)]
        found += [f"contains '{words}'" for words in self.must_not_contain if find(words, text)]
        if not text.startswith(self.prefix):
            found.append(f"does not begin with '{self.prefix}'")
        if not text.endswith(self.suffix):
            found.append(f"does not end with '{self.suffix}'")
        if self.min_words is not None and count < self.min_words:
            found.append(f"has {count} words, fewer than {self.min_words}")
        if self.max_words is not None and count > self.max_words:
            found.append(f"has {count} words, more than {self.max_words}")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, only what is constrained."""
        return {name: value for name, value in asdict(self).items() if value not in ((), "", None)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | str) -> Constraints:
        """Constraints from a JSON object or its text, as a prediction's row holds them.

        Raises:
            RequestError: it is no such object, a name is unknown, or the constraints contradict each other.
        """
        if isinstance(values, str):
            try:
                values = json.loads(values)
            except json.JSONDecodeError as error:
                raise RequestError(f"constraints are no JSON object ({error}): {values!r:.80}") from error
        known = cls.__slots__
        if not isinstance(values, Mapping) or (unknown := sorted(set(values) - set(known))):
            named = f"unknown {', '.join(unknown)}; " if isinstance(values, Mapping) else ""
            raise RequestError(f"constraints: {named}known are {', '.join(known)}")
        return cls(**{name: _value(name, value) for name, value in values.items()}).checked()

    def checked(self) -> Constraints:
        """These constraints.

        Raises:
            RequestError: no text can meet them.
        """
        for words in self.must_contain:
            if clash := [banned for banned in self.must_not_contain if find(banned, words)]:
                raise RequestError(f"constraints: '{words}' must be there and '{clash[0]}' must not")
        for end in (self.prefix, self.suffix):
            if clash := [banned for banned in self.must_not_contain if find(banned, end)]:
                raise RequestError(f"constraints: '{end}' contains '{clash[0]}', which must not be there")
        least, most = self.min_words or 0, self.max_words
        if most is not None and (most < 1 or least > most):
            raise RequestError(f"constraints: no text has at least {least} and at most {most} words")
        return self


def find(words: str, text: str) -> re.Match[str] | None:
    """Where a run of whole words stands in a text."""
    pattern = r"\s+".join(re.escape(word) for word in words.split())
    return re.search(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)


def _value(name: str, value: Any) -> Any:
    if name.startswith("must"):
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list | tuple) and all(isinstance(text, str) and text.strip() for text in texts):
            return tuple(texts)
        raise RequestError(f"constraints: {name} is a list of words, got {value!r:.60}")
    wanted: tuple[type, ...] = (str,) if name in ("prefix", "suffix") else (int, type(None))
    if not isinstance(value, wanted) or isinstance(value, bool) or (isinstance(value, int) and value < 0):
        raise RequestError(f"constraints: {name} cannot be {value!r:.60}")
    return value
