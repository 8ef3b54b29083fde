"""From a raw row to a draft: texts normalised and checked, the source's words for splits understood."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from multimodal.errors import MediaError, SourceError
from multimodal.ingest.locations import Location
from multimodal.ingest.measures import Measures, text_measures
from multimodal.ingest.options import CheckOptions, SourceOptions
from multimodal.ingest.reader import Reader, Row
from multimodal.ingest.reasons import Reason
from multimodal.ingest.refs import MediaRef
from multimodal.ingest.text_checks import check_text
from multimodal.sample import Modality, Sample, Split, Task, content_digest, normalise, sample_digest

SPLIT_WORDS = {"validation": Split.VAL, "valid": Split.VAL, "dev": Split.VAL, "training": Split.TRAIN}
"""Usual words for splits, beside our own; `split_values` of a source goes first."""
MOST_ATTRIBUTE_CHARS = 1 << 18
"""Of a row's further columns together, which a row of Parquet can have megabytes of for a few bytes in the file."""


@dataclass(slots=True)
class Draft:
    """A sample before its split is known; `content_id`, `picture_id` and `group` are "" until the media has been read.

    Args:
        official: the split that the source gives the row, None where it gives none.
        media: where the media lies, None for text.
        picture: where the picture beside the content lies, None where there is none.
    """

    uri: str
    source: str
    task: Task
    text: str
    input: str
    style: str
    speaker: str
    attributes: str
    group: str
    official: Split | None
    media: MediaRef | None = None
    content_id: str = ""
    hint: str = ""
    picture: MediaRef | None = None
    picture_id: str = ""
    originals: str = ""

    @property
    def files(self) -> list[tuple[MediaRef, Modality]]:
        """The media files that the row names."""
        files = [] if self.media is None else [(self.media, self.task.modality)]
        return files if self.picture is None else [*files, (self.picture, Modality.IMAGE)]

    @property
    def sample_id(self) -> str:
        """The key of the sample to be."""
        return sample_digest(self.content_id, self.task, self.style, self.text, self.hint, self.picture_id)

    def take_contents(self, content_ids: Sequence[str]) -> None:
        """Take what `files` hold, now that it is known; a row of media without a group is a group with its content."""
        rest = iter(content_ids)
        if self.media is not None:
            self.content_id = next(rest)
            self.group = self.group or self.content_id
        if self.picture is not None:
            self.picture_id = next(rest)

    def sample(self, sample_id: str, split: Split) -> Sample:
        """The finished sample."""
        return Sample(
            sample_id=sample_id, content_id=self.content_id, modality=self.task.modality, task=self.task,
            split=split,
            group=self.group, source=self.source, uri=self.uri, text=self.text, input=self.input, style=self.style,
            speaker=self.speaker, attributes=self.attributes, hint=self.hint, picture=self.picture_id,
            originals=self.originals,
        )  # fmt: skip


class Drafter:
    """Makes drafts of the rows of one source."""

    def __init__(self, reader: Reader, checks: CheckOptions) -> None:
        self._reader, self._source, self._checks = reader, reader.source, checks
        self._listed = listed_splits(reader.source)

    def draft(self, row: Row, measures: Measures | None = None) -> Draft:
        """The draft of a row.

        Args:
            measures: receives what was measured of its text, refused or not.

        Raises:
            MediaError: the row must be quarantined.
        """
        if row.problem is not None:
            raise MediaError(row.problem, row.detail)
        measures = {} if measures is None else measures
        if row.attributes:
            self._check_depth(row, measures)
        source, task = self._source, self._source.task
        text = self._text(row, "text", Reason.EMPTY_TEXT, measures)
        check_text(text, row.values.get("path", "").strip(), self._checks, measures)
        needs_input = task in (Task.DENOISE, Task.RESTYLE)
        texts = {"text": text}
        texts["input"] = self._text(row, "input", Reason.MISSING_INPUT) if needs_input else ""
        texts["hint"] = self._checked(row, "hint")
        draft = Draft(
            media=self._reader.media_path(row),
            uri=row.uri, source=source.name, task=task, **texts, originals=_originals(row, texts),
            style=normalise(row.values.get("style", "")) or source.style,
            speaker=normalise(row.values.get("speaker", "")), group=normalise(row.values.get("group", "")),
            attributes=_attributes(row),
            official=self._official_split(row),
            picture=self._reader.picture_path(row),
        )  # fmt: skip
        if task.modality is Modality.TEXT:
            return _with_text_content(draft)
        if draft.media is None:
            raise MediaError(Reason.MISSING_FILE, "the row names no path")
        return draft

    def _check_depth(self, row: Row, measures: Measures) -> None:
        measures["json_depth"] = _depth(row.attributes)
        if measures["json_depth"] > self._checks.max_json_depth:
            raise MediaError(Reason.JSON_TOO_DEEP, f"values nested deeper than {self._checks.max_json_depth}")

    def _text(self, row: Row, name: str, if_empty: Reason, measures: Measures | None = None) -> str:
        text = self._checked(row, name, measures)
        if not text:
            raise MediaError(if_empty, f"no {name}")
        return text

    def _checked(self, row: Row, name: str, measures: Measures | None = None) -> str:
        text = normalise(row.values.get(name, ""))
        if text and measures is not None:
            measures |= text_measures(text)
        if len(text) > self._checks.max_text_chars:
            raise MediaError(
                Reason.TEXT_TOO_LONG, f"{name} of {len(text)} characters, at most {self._checks.max_text_chars}"
            )
        return text

    def _listed_split(self, path: str) -> Split | None:
        return self._listed.get(path) or self._listed.get(PurePosixPath(path).name)

    def _official_split(self, row: Row) -> Split | None:
        listed = self._listed_split(row.values.get("path", "").strip()) if self._listed else None
        word = row.values.get("split", "").strip()
        if listed is not None or not word:
            return listed or self._source.split
        known = {**{split.value: split for split in Split}, **SPLIT_WORDS, **self._source.split_values}
        if word not in known and word.lower() not in known:
            raise MediaError(
                Reason.UNKNOWN_SPLIT, f"split '{word}'; say what it is with split_values: {{{word}: train}}"
            )
        return known.get(word) or known[word.lower()]


def _with_text_content(draft: Draft) -> Draft:
    """A text's content is its input. Without a group, noisy variants of one target text are one group,
    and so are the two directions of a restyled pair."""
    target = content_digest(draft.text.encode())
    own = content_digest(draft.input.encode()) if draft.input else target
    group = min(own, target) if draft.task is Task.RESTYLE else target
    draft.content_id, draft.group = own, draft.group or group
    return draft


def _originals(row: Row, texts: Mapping[str, str]) -> str:
    """The texts as found, of those that differ from what samples hold, as JSON; "" where none does."""
    found = {name: row.values[name] for name, text in texts.items() if text and row.values[name] != text}
    return _json(found) if found else ""


def _attributes(row: Row) -> str:
    if not row.attributes:
        return "{}"
    written = _json(row.attributes)
    if len(written) > MOST_ATTRIBUTE_CHARS:
        detail = f"further columns of {len(written)} characters, at most {MOST_ATTRIBUTE_CHARS}"
        raise MediaError(Reason.TEXT_TOO_LONG, detail)
    return written


def _json(attributes: Mapping[str, object]) -> str:
    return json.dumps(dict(attributes), ensure_ascii=False, sort_keys=True, default=str)


def _depth(value: object) -> int:
    """How many lists and objects lie within each other; a loop, since recursion is what deep values exhaust."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, Mapping | list)]:
        depth += 1
        level = [part for each in level for part in (each.values() if isinstance(each, Mapping) else each)]
    return depth - 1


def listed_splits(source: SourceOptions) -> dict[str, Split]:
    """Name of a media file -> the split whose list in `split_files` it stands in.

    Raises:
        SourceError: a list cannot be read, or a name stands in two of them.
    """
    found: dict[str, Split] = {}
    for split, path in source.split_files.items():
        for name in _names(source, path):
            if found.setdefault(name, split) is not split:
                raise SourceError(
                    f"source '{source.name}': '{name}' stands in the lists of {found[name]} and of {split}; "
                    "take it out of one of split_files"
                )
    return found


def _names(source: SourceOptions, path: Location) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"source '{source.name}': cannot read the split list {path}: {error}") from error
