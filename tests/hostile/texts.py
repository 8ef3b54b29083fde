"""JSON lines that no reader wants to see."""

from __future__ import annotations

import json

KEPT = ""


def _nested(depth: int) -> str:
    return '{"text": "x", "more": ' + "[" * depth + "]" * depth + "}"


def texts() -> dict[str, tuple[bytes, str]]:
    """Name -> (one line, reason that the ledger must give)."""
    return {
        "first-line-names-the-columns": (b'{"text": "fine"}', KEPT),
        "nested-100000": (_nested(100_000).encode(), "invalid_row"),
        "nested-900": (_nested(900).encode(), "json_too_deep"),
        "nested-60": (_nested(60).encode(), "json_too_deep"),
        "nested-5": (_nested(5).encode(), KEPT),
        "invalid-utf8": (b'{"text": "caf\xe9"}', "invalid_utf8"),
        "overlong-utf8": (b'{"text": "\xc0\xaf"}', "invalid_utf8"),
        "lone-surrogate": (b'{"text": "\\ud800"}', "invalid_utf8"),
        "surrogate-in-attribute": (b'{"text": "y", "more": ["\\udfff"]}', "invalid_utf8"),
        "cut": (b'{"text": "a', "invalid_row"),
        "array": (b'["text"]', "invalid_row"),
        "number": (b"7", "invalid_row"),
        "endless-number": (b'{"text": ' + b"1" * 10_000 + b"}", "invalid_row"),
        "object-as-text": (b'{"text": {"a": 1}}', "invalid_row"),
        "null": (b'{"text": null}', "empty_text"),
        "blank": (json.dumps({"text": " \u3000\u2028 "}).encode(), "empty_text"),
        "megabyte": (json.dumps({"text": "x" * 2**20}).encode(), "text_too_long"),
        "combining-marks": (json.dumps({"text": "a" + "\u0301" * 5000}).encode(), "text_too_long"),
    }
