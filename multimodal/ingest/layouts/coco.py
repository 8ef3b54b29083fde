"""COCO captions (Chen et al. 2015), and the JSON of Karpathy's splits (Karpathy and Fei-Fei 2015)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from multimodal.errors import SourceError
from multimodal.ingest.layouts.layout import LayoutReader
from multimodal.ingest.locations import Location, open_plain
from multimodal.ingest.reader import Row
from multimodal.ingest.reasons import Reason
from multimodal.ingest.split_names import split_word
from multimodal.sample import Task

ANNOTATIONS = "annotations"
CAPTIONS = re.compile(r"captions_.*\.json")
HEAD_BYTES = 1 << 16


class JsonLayoutReader(LayoutReader):
    """A corpus whose captions are in JSON files, each of which is read as a whole (COCO's largest has 90 MB)."""

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
            self._parsed(file)

    def _parsed(self, file: Location) -> dict[str, Any]:
        if file not in self._content:
            try:
                with open_plain(file) as opened:
                    found = json.loads(opened.read())
            except (ValueError, RecursionError) as error:
                raise SourceError(f"source '{self.source.name}': {file} is no JSON: {error}") from error
            if not isinstance(found, dict) or not isinstance(found.get("images"), list):
                raise SourceError(f"source '{self.source.name}': {file} is no {self.looked_for}: no list 'images'")
            if not isinstance(found.get("annotations") or [], list):
                raise SourceError(f"source '{self.source.name}': {file} is no {self.looked_for}: 'annotations' no list")
            self._content[file] = found
        return self._content[file]

    @cached_property
    def _content(self) -> dict[Location, dict[str, Any]]:
        return {}


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

    def _found(self) -> Iterator[Row]:
        for file in self.text_files():
            yield from self._rows_of(file)

    def _rows_of(self, file: Location) -> Iterator[Row]:
        content, folder = self._parsed(file), _picture_folder(self.media_root, file)
        word = split_word(file.stem)
        split = {"split": word} if word else {}
        names = {one["id"]: one.get("file_name") for one in content["images"] if _has_id(one, "id")}
        captioned = set()
        for number, one in enumerate(content.get("annotations") or []):
            uri = f"{file.name}#/annotations/{number}"
            image = one["image_id"] if _has_id(one, "image_id") else None
            name = names.get(image)
            captioned.add(image)
            if not isinstance(name, str) or not isinstance(one.get("caption"), str):
                yield Row(uri, {}, {}, Reason.INVALID_ROW, f"no caption of a listed image: {one!r:.120}")
                continue
            attributes = {"image_id": image, "annotation_id": one.get("id")}
            yield Row(uri, {"path": folder + name, "text": one["caption"], **split}, attributes)
        for number, one in enumerate(content["images"]):
            if isinstance(one, dict) and not _has_id(one, "id"):
                yield Row(f"{file.name}#/images/{number}", {}, {}, Reason.INVALID_ROW, f"no id: {one!r:.120}")
            elif not isinstance(one, dict) or one["id"] not in captioned:
                yield Row(f"{file.name}#/images/{number}", {}, {}, Reason.EMPTY_TEXT, f"no caption: {one!r:.120}")


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
        for number, image in enumerate(self._parsed(file)["images"]):
            uri = f"{file.name}#/images/{number}"
            problem = _karpathy_problem(image)
            if problem:
                yield Row(uri, {}, {}, Reason.INVALID_ROW, problem)
                continue
            path = str(PurePosixPath(image.get("filepath") or "") / image["filename"])
            split = "train" if image.get("split") == "restval" else str(image.get("split") or "")
            for place, sentence in enumerate(image["sentences"]):
                text = sentence.get("raw") if isinstance(sentence, Mapping) else None
                if text is not None and not isinstance(text, str):
                    detail = f"raw is no text: {sentence!r:.120}"
                    yield Row(f"{uri}/sentences/{place}", {}, {}, Reason.INVALID_ROW, detail)
                    continue
                values = {"path": path, "text": text or "", "split": split}
                yield Row(f"{uri}/sentences/{place}", values, {"image_id": image.get("cocoid", image.get("imgid"))})


def _has_id(one: Any, key: str) -> bool:
    """Whether something of a JSON file is an object with a key that names something: a number or a text."""
    return isinstance(one, dict) and isinstance(one.get(key), int | float | str)


def _karpathy_problem(image: Any) -> str:
    if not isinstance(image, dict) or not isinstance(image.get("filename"), str):
        return f"no image with a filename: {image!r:.120}"
    if not isinstance(image.get("filepath") or "", str):
        return f"filepath is no text: {image!r:.120}"
    sentences = image.get("sentences")
    return "" if isinstance(sentences, list) and sentences else f"no sentences: {image!r:.120}"


def _picture_folder(root: Location, file: Location) -> str:
    """`train2017/` of `captions_train2017.json` where there is such a folder, else ""."""
    name = file.stem.rpartition("_")[2]
    return f"{name}/" if name and (root / name).is_dir() else ""


def _head(path: Location) -> bytes:
    with open_plain(path) as file:
        return bytes(file.read(HEAD_BYTES))
