"""COCO captions (Chen et al. 2015), and the JSON of Karpathy's splits (Karpathy and Fei-Fei 2015)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from multimodal.errors import SourceError
from multimodal.ingest.json_lists import Entry, JsonLists
from multimodal.ingest.layouts.layout import LayoutReader
from multimodal.ingest.locations import Location, open_plain
from multimodal.ingest.manifests import Unreadable
from multimodal.ingest.reader import Row
from multimodal.ingest.reasons import Reason
from multimodal.ingest.split_names import split_word
from multimodal.sample import Task

IMAGES, ANNOTATIONS = "images", "annotations"
CAPTIONS = re.compile(r"captions_.*\.json")
HEAD_BYTES = 1 << 16
MOST_NAME_CHARS = 4096
"""Of an id or a file name; no file system has longer ones."""


class JsonLayoutReader(LayoutReader):
    """A corpus whose captions are in JSON files, each read entry by entry: to check it, and again for its rows."""

    task = Task.CAPTION

    @property
    def root(self) -> Location:
        """The folder of the pictures' folders: above `annotations`, else that of the JSON."""
        folder = super().root
        return folder.parent if folder.name == ANNOTATIONS and not self.source.path.is_dir() else folder

    def check(self) -> None:
        """As of any layout; the files must be JSON with a list of images."""
        super().check()
        for file in self.text_files():
            self._look_through(file)

    def _look_through(self, file: Location) -> None:
        """Refuse a file that is another one."""
        for _ in self._entries(file):
            pass

    def _entries(self, file: Location) -> Iterator[Entry]:
        """The entries of a file's images and annotations, in the order of the file.

        Raises:
            SourceError: it is no JSON, or has no such lists; that it has none shows at its end.
        """
        lists = JsonLists(file, (IMAGES, ANNOTATIONS))
        try:
            yield from lists
        except ValueError as error:
            raise SourceError(f"source '{self.source.name}': {file} is no JSON: {error}") from error
        another = f"source '{self.source.name}': {file} is no {self.looked_for}"
        if IMAGES not in lists.lists:
            raise SourceError(f"{another}: no list '{IMAGES}'")
        if ANNOTATIONS in lists.others:
            raise SourceError(f"{another}: '{ANNOTATIONS}' no list")


@dataclass(slots=True)
class _Images:
    """What the annotations of a file need to know of its images.

    Args:
        names: id -> file name, None where it has none.
        nameless: images without an id.
    """

    names: dict[Any, str | None] = field(default_factory=dict)
    nameless: int = 0

    def add(self, one: Any) -> None:
        """Note an entry of the list."""
        if not _has_id(one, "id"):
            self.nameless += 1
            return
        name = one.get("file_name")
        self.names[one["id"]] = name if isinstance(name, str) and len(name) <= MOST_NAME_CHARS else None


class CocoReader(JsonLayoutReader):
    """`annotations/captions_train2017.json` beside `train2017/`, or one such file. The split is in the file's name."""

    looked_for = "captions_*.json"

    @classmethod
    def recognises(cls, path: Location, names: Sequence[str]) -> bool:
        """A folder with annotations/captions_*.json, or a JSON file with images and annotations."""
        if names:
            return any(name.startswith(f"{ANNOTATIONS}/captions_") and name.endswith(".json") for name in names)
        return path.suffix == ".json" and b'"sentences"' not in _head(path)

    def text_files(self) -> list[Location]:
        """The caption files."""
        if not self.source.path.is_dir():
            return [self.source.path]
        folder = self.source.path / ANNOTATIONS
        return sorted((file for file in folder.iterdir() if CAPTIONS.fullmatch(file.name)), key=str)

    @cached_property
    def _images(self) -> dict[Location, _Images]:
        return {}

    def _look_through(self, file: Location) -> None:
        images = _Images()
        for entry in self._entries(file):
            if entry.name == IMAGES:
                images.add(entry.value)
        self._images[file] = images

    def _found(self) -> Iterator[Row]:
        for file in self.text_files():
            yield from self._rows_of(file)

    def _rows_of(self, file: Location) -> Iterator[Row]:
        """The annotations, which may stand before the images that they mean; then images without a caption."""
        if file not in self._images:
            self._look_through(file)
        images, folder = self._images[file], _picture_folder(self.media_root, file)
        word = split_word(file.stem)
        split = {"split": word} if word else {}
        bare = set(images.names)
        for entry in self._entries(file):
            if entry.name == ANNOTATIONS:
                one = entry.value
                bare.discard(one["image_id"] if _has_id(one, "image_id") else None)
                yield _caption(_uri(file, entry), one, images, folder, split)
        if bare or images.nameless:
            yield from self._without_caption(file, bare)

    def _without_caption(self, file: Location, bare: Collection[Any]) -> Iterator[Row]:
        for entry in self._entries(file):
            one = entry.value
            if entry.name != IMAGES:
                continue
            if isinstance(one, Unreadable):
                yield Row(_uri(file, entry), {}, {}, one.reason, one.detail)
            elif isinstance(one, dict) and not _has_id(one, "id"):
                yield Row(_uri(file, entry), {}, {}, Reason.INVALID_ROW, f"no id: {_shown(one)}")
            elif not isinstance(one, dict) or one["id"] in bare:
                yield Row(_uri(file, entry), {}, {}, Reason.EMPTY_TEXT, f"no caption: {_shown(one)}")


class KarpathyReader(JsonLayoutReader):
    """`dataset_coco.json`, `dataset_flickr8k.json`: images with their split and sentences; restval is train."""

    looked_for = "dataset*.json"

    @classmethod
    def recognises(cls, path: Location, names: Sequence[str]) -> bool:
        """A JSON file that holds sentences."""
        return not names and path.suffix == ".json" and b'"sentences"' in _head(path)

    def text_files(self) -> list[Location]:
        """The JSON file."""
        return [self.source.path]

    def _found(self) -> Iterator[Row]:
        file = self.source.path
        for entry in self._entries(file):
            if entry.name != IMAGES:
                continue
            uri, image = _uri(file, entry), entry.value
            if isinstance(image, Unreadable):
                yield Row(uri, {}, {}, image.reason, image.detail)
                continue
            problem = _karpathy_problem(image)
            if problem:
                yield Row(uri, {}, {}, Reason.INVALID_ROW, problem)
                continue
            path = str(PurePosixPath(image.get("filepath") or "") / image["filename"])
            split = "train" if image.get("split") == "restval" else str(image.get("split") or "")
            for place, sentence in enumerate(image["sentences"]):
                text = sentence.get("raw") if isinstance(sentence, Mapping) else None
                if text is not None and not isinstance(text, str):
                    detail = f"raw is no text: {_shown(sentence)}"
                    yield Row(f"{uri}/sentences/{place}", {}, {}, Reason.INVALID_ROW, detail)
                    continue
                values = {"path": path, "text": text or "", "split": split}
                yield Row(f"{uri}/sentences/{place}", values, {"image_id": image.get("cocoid", image.get("imgid"))})


def _uri(file: Location, entry: Entry) -> str:
    return f"{file.name}#/{entry.name}/{entry.number}"


def _caption(uri: str, one: Any, images: _Images, folder: str, split: Mapping[str, str]) -> Row:
    """The row of an annotation."""
    if isinstance(one, Unreadable):
        return Row(uri, {}, {}, one.reason, one.detail)
    image = one["image_id"] if _has_id(one, "image_id") else None
    name = images.names.get(image)
    if name is None or not isinstance(one.get("caption"), str):
        return Row(uri, {}, {}, Reason.INVALID_ROW, f"no caption of a listed image: {_shown(one)}")
    attributes = {"image_id": image, "annotation_id": one.get("id")}
    return Row(uri, {"path": folder + name, "text": one["caption"], **split}, attributes)


def _shown(one: Any) -> str:
    try:
        return f"{one!r:.120}"
    except RecursionError:
        return "values nested too deep to be shown"


def _has_id(one: Any, key: str) -> bool:
    """Whether something of a JSON file is an object with a key that names something: a number or a short text."""
    found = one.get(key) if isinstance(one, dict) else None
    return isinstance(found, int | float) or (isinstance(found, str) and len(found) <= MOST_NAME_CHARS)


def _karpathy_problem(image: Any) -> str:
    if not isinstance(image, dict) or not isinstance(image.get("filename"), str):
        return f"no image with a filename: {_shown(image)}"
    if not isinstance(image.get("filepath") or "", str):
        return f"filepath is no text: {_shown(image)}"
    sentences = image.get("sentences")
    return "" if isinstance(sentences, list) and sentences else f"no sentences: {_shown(image)}"


def _picture_folder(root: Location, file: Location) -> str:
    """`train2017/` of `captions_train2017.json` where there is such a folder, else ""."""
    name = file.stem.rpartition("_")[2]
    return f"{name}/" if name and (root / name).is_dir() else ""


def _head(path: Location) -> bytes:
    with open_plain(path) as file:
        return bytes(file.read(HEAD_BYTES))
