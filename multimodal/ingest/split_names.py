"""The official split that the name of a file or folder tells."""

from __future__ import annotations

import re

SPLIT_IN_NAME = re.compile(r"(?<![a-z])(train|training|validation|valid|val|dev|test|restval)(?![a-z])", re.IGNORECASE)


def split_word(name: str) -> str:
    """The last word for a split in a name: "train" of `captions_train2017.json`, "dev" of `dev-clean/1/2`, else ""."""
    found = SPLIT_IN_NAME.findall(name)
    return str(found[-1]).lower() if found else ""
