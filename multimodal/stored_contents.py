"""Contents by where a dataset holds them: what travels to a worker, instead of their bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import pyarrow.parquet as pq

from multimodal.dataset import Dataset, media_of_group
from multimodal.errors import DatasetError
from multimodal.media_parts import MEDIA
from multimodal.parts import part_paths
from multimodal.sample import Content, Modality


@dataclass(frozen=True)
class StoredContents(Sequence[Content]):
    """Some contents of one modality, in their order, read whenever they are asked for: ask once, for all of them.

    Args:
        dataset: its folder.
        content_ids: which.
        groups: pictures and sounds: (file, row group) that hold them, in the dataset's order.
        texts: texts travel themselves: they are short, and lie in the columns of their samples.
    """

    dataset: Path
    modality: Modality
    content_ids: tuple[str, ...]
    groups: tuple[tuple[str, int], ...] = ()
    texts: tuple[Content, ...] = ()

    def __len__(self) -> int:
        return len(self.content_ids)

    def __iter__(self) -> Iterator[Content]:
        """The contents with their bytes.

        Raises:
            DatasetError: they are not where they were, or this machine does not see the dataset.
        """
        if self.texts:
            yield from self.texts
            return
        wanted = set(self.content_ids)
        try:
            for name, group in self.groups:
                with pq.ParquetFile(self.dataset / name) as file:
                    yield from media_of_group(file, group, wanted, self.modality)
        except OSError as error:
            cure = "it must lie where every worker sees it"
            raise DatasetError(f"a worker cannot read {self.dataset}: {error}; {cure}") from error

    @overload
    def __getitem__(self, index: int) -> Content: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Content]: ...

    def __getitem__(self, index: int | slice) -> Content | Sequence[Content]:
        return list(self)[index]


def stored_contents(
    dataset: Dataset, content_ids: Sequence[str], modality: Modality, size: int
) -> Iterator[StoredContents]:
    """The same contents in the same order as `dataset.contents`, so many at a time; no bytes of media are read."""
    if modality is Modality.TEXT:
        yield from _texts(dataset, content_ids, size)
        return
    wanted = set(content_ids)
    waiting: deque[tuple[str, tuple[str, int]]] = deque()
    for path in part_paths(dataset.path, MEDIA):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                keys = file.read_row_group(group, columns=["content_id", "modality"]).to_pylist()
                waiting.extend(
                    (key["content_id"], (path.name, group))
                    for key in keys
                    if key["content_id"] in wanted and key["modality"] == modality
                )
                while len(waiting) >= size:
                    yield _media(dataset, modality, [waiting.popleft() for _ in range(size)])
    if waiting:
        yield _media(dataset, modality, list(waiting))


def _media(dataset: Dataset, modality: Modality, found: Sequence[tuple[str, tuple[str, int]]]) -> StoredContents:
    groups = tuple(dict.fromkeys(group for _, group in found))
    return StoredContents(dataset.path, modality, tuple(content_id for content_id, _ in found), groups)


def _texts(dataset: Dataset, content_ids: Sequence[str], size: int) -> Iterator[StoredContents]:
    found = list(dataset.contents(content_ids, Modality.TEXT)) if content_ids else []
    for start in range(0, len(found), size):
        part = tuple(found[start : start + size])
        yield StoredContents(dataset.path, Modality.TEXT, tuple(one.content_id for one in part), texts=part)
