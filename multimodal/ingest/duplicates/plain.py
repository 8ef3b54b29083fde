"""Texts as they are compared: that they look different makes no difference."""

from __future__ import annotations

import re

from multimodal.sample import Task

_NOT_A_WORD = re.compile(r"[\W_]+")


def plain(text: str) -> str:
    """The words of a text in lower case, one space between them."""
    return _NOT_A_WORD.sub(" ", text).strip().casefold()


def text_key(task: Task, input: str, style: str, text: str) -> tuple[str, ...]:
    """What two samples of a text task share if one repeats the other: infill the whole text, restyle and denoise
    input and target together."""
    return (plain(text),) if task is Task.INFILL else (plain(input), style, plain(text))
