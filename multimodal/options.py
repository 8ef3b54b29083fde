"""The base of every option class: frozen, closed, and helpful about misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Options(BaseModel):
    """Frozen options that refuse unknown keys and name the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for key, value in values.items():
                if not _can_be_written(value):
                    raise ValueError(f"{key} holds half a character (a lone surrogate): {value!a:.80}; remove it")
                if key not in cls.model_fields:
                    near = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.5)
                    hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(cls.model_fields)}"
                    raise ValueError(f"unknown key '{key}'; {hint}")
        return values


def _can_be_written(value: Any) -> bool:
    r"""Whether all texts of a value are UTF-8; YAML may escape half a character (`\ud800`)."""
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, Mapping):
        return all(_can_be_written(part) for pair in value.items() for part in pair)
    return not isinstance(value, list | tuple) or all(map(_can_be_written, value))
