"""The layouts of Flickr8k (Hodosh et al. 2013) and Flickr30k (Young et al. 2014): one file of captions, a folder of pictures."""  # noqa: E501

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TextIO

from multimodal.errors import SourceError, UnreachableError
from multimodal.ingest.layouts.layout import LayoutReader
from multimodal.ingest.locations import MOST_LINE_CHARS, Location, bounded_lines, open_plain
from multimodal.ingest.manifests import Unreadable, parse_delimited
from multimodal.ingest.reader import Row
from multimodal.ingest.reasons import Reason
from multimodal.sample import Task

CAPTIONS = ("captions.txt", "Flickr8k.token.txt", "results_20130124.token", "results.csv")
PICTURES = ("Images", "images", "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k_images", "flickr30k-images")
SPLIT_LIST = re.compile(r"(?:.*[._])?(train|dev|val|test)(?:images)?\.txt", re.IGNORECASE)
TOKEN = re.compile(r"(?P<name>[^\t#]+)#\d+\t(?P<text>.*)")


class FlickrReader(LayoutReader):
    """A caption per line: `name#k<TAB>caption`, or under a header `image,caption` or `image_name| comment_number| comment`.

    Lists of names (`Flickr_8k.trainImages.txt`, `train.txt` ...) beside it tell the splits.
    """  # noqa: E501

    task = Task.CAPTION
    looked_for = " or ".join(CAPTIONS)

    @classmethod
    def recognises(cls, path: Location, names: Sequence[str]) -> bool:
        """A folder with one of the caption files and one of the picture folders."""
        folders = {name.partition("/")[0] for name in names if "/" in name}
        return any(name in names for name in CAPTIONS) and bool(folders & set(PICTURES))

    @property
    def media_root(self) -> Location:
        """`media_root` of the source, else the picture folder, else the corpus's own."""
        folders = (self.root / name for name in PICTURES)
        return self.source.media_root or next((folder for folder in folders if folder.is_dir()), self.root)

    def check(self) -> None:
        """As of any layout; the lists of names must be text."""
        super().check()
        self._splits()

    def text_files(self) -> list[Location]:
        """The captions, then the lists of names."""
        if not self.source.path.is_dir():
            return [self.source.path, *self._split_lists()]
        found = [file for file in (self.root / name for name in CAPTIONS) if file.is_file()]
        return [found[0], *self._split_lists()] if found else []

    def _split_lists(self) -> list[Location]:
        """Lists directly in the folder: pictures may lie deeper by the thousand, and hold no lists."""
        return sorted((file for file in self.root.iterdir() if SPLIT_LIST.fullmatch(file.name)), key=str)

    def _splits(self) -> dict[str, str]:
        """Name of a picture, with or without its suffix -> the word of its list."""
        found: dict[str, str] = {}
        for file in self._split_lists():
            match = SPLIT_LIST.fullmatch(file.name)
            assert match
            found |= {line.strip(): match[1].lower() for line in self._lines(file)}
        return found

    def _lines(self, file: Location) -> list[str]:
        try:
            with open_plain(file) as opened:
                return str(opened.read(), "utf-8-sig").splitlines()
        except UnreachableError:
            raise
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"source '{self.source.name}': cannot read the split list {file}: {error}") from error

    def _found(self) -> Iterator[Row]:
        captions, splits = self.text_files()[0], self._splits()
        with captions.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            first = lines.readline(MOST_LINE_CHARS)
        with captions.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            for number, found in enumerate(_captions(lines, first), start=1):
                uri = f"{captions.name}#{number}"
                if isinstance(found, Unreadable):
                    yield Row(uri, {}, {}, found.reason, found.detail)
                    continue
                name, text = found
                split = splits.get(name) or splits.get(PurePosixPath(name).stem)
                yield Row(uri, {"path": name, "text": text} | ({"split": split} if split else {}))


def _captions(lines: TextIO, first: str) -> Iterator[tuple[str, str] | Unreadable]:
    """(name, caption) of each line, by what the first line looks like."""
    if TOKEN.match(first):
        for line in bounded_lines(lines):
            match = TOKEN.match(line)
            yield (match["name"].strip(), match["text"]) if match else Unreadable(f"no name#number: {line!r:.120}")
        return
    bars = "|" in first
    # Captions hold quotation marks of their own where bars divide the fields.
    records = parse_delimited(lines, "|" if bars else ",", csv.QUOTE_NONE if bars else csv.QUOTE_MINIMAL)
    next(records, None)
    for fields in records:
        if isinstance(fields, Unreadable):
            yield fields
        elif len(fields) != (3 if bars else 2):
            yield Unreadable(f"{len(fields)} fields, expected {3 if bars else 2}: {fields!r:.120}", Reason.INVALID_ROW)
        else:
            yield fields[0].strip(), fields[-1]
