"""The texts beside a media file: a `.txt` of one text per line, a `.json` of one object; in folders and in archives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from multimodal.ingest.manifests import STANDARD_COLUMNS, parse_json
from multimodal.ingest.options import Column
from multimodal.ingest.reader import Row, checked, within
from multimodal.ingest.reasons import Reason

TEXT_SUFFIX, JSON_SUFFIX = ".txt", ".json"
MOST_SIDECAR_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Sidecars:
    """What stands beside one media file.

    Args:
        text: bytes of the `.txt`, None where there is none.
        json: bytes of the `.json`, None where there is none.
    """

    text: bytes | None = None
    json: bytes | None = None

    def rows(self, bare: Row, columns: Mapping[Column, str]) -> Iterator[Row]:
        """A row per text. The lines of the `.txt` go before the texts of the `.json`, whose further keys serve both.

        Args:
            bare: the row without its texts; what the JSON says of it goes first.
            columns: standard name -> key of the JSON object, where they differ.
        """
        try:
            values, attributes, texts = self._parsed(columns)
        except (ValueError, RecursionError) as error:
            yield Row(bare.uri, {}, {}, Reason.INVALID_ROW, f"the {JSON_SUFFIX} beside it: {error}")
            return
        for number, text in enumerate(texts or [""], start=1):
            uri = f"{bare.uri}#{number}" if len(texts) > 1 else bare.uri
            row = replace(bare, uri=uri, values={**bare.values, **values, "text": text})
            # Who made the archive or the corpus chose the name, not who reads it.
            yield within(checked(replace(row, attributes={**bare.attributes, **attributes})), "picture")

    def _parsed(self, columns: Mapping[Column, str]) -> tuple[dict[str, str], dict[str, Any], list[str]]:
        """(standard values but the text, attributes, texts)."""
        found = parse_json(self.json.decode("utf-8-sig")) if self.json is not None else {}
        if not isinstance(found, dict):
            raise ValueError(f"a JSON {type(found).__name__}, expected an object")
        named = {name: columns.get(name, name) for name in STANDARD_COLUMNS if name != "path"}
        given = {name: found.pop(key) for name, key in named.items() if found.get(key) is not None}
        texts = _texts(given.pop("text", []))
        for name, value in given.items():
            if isinstance(value, dict | list):
                raise ValueError(f"{name} is a JSON {type(value).__name__}, expected text")
        if self.text is not None:
            lines = self.text.decode("utf-8-sig", "surrogateescape").splitlines()
            texts = [line for line in lines if line.strip()]
        return {name: str(value) for name, value in given.items()}, found, texts


def _texts(value: Any) -> list[str]:
    """One text, or a list of texts."""
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, dict | list) for one in values):
        raise ValueError("text is a JSON object or a list of lists, expected a text or a list of texts")
    return [str(one) for one in values if one is not None]
