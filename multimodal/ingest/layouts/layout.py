"""What the readers of published layouts share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from multimodal.errors import ConfigError, SourceError
from multimodal.ingest.locations import Location
from multimodal.ingest.reader import Reader, Row, checked, within
from multimodal.sample import Task


class LayoutReader(Reader):
    """A corpus for one task; its texts alone serve infill too. Names that lead out of the corpus are refused."""

    task: ClassVar[Task]
    looked_for: ClassVar[str]
    """The files that the rows come from, for the message where there are none."""

    @property
    def media_root(self) -> Location:
        """`media_root` of the source, else the folder of the corpus."""
        return self.source.media_root or self.root

    @property
    def root(self) -> Location:
        """The folder of the corpus."""
        return self.source.path if self.source.path.is_dir() else self.source.path.parent

    def check(self) -> None:
        """The task must be the corpus's own, or infill of its texts, and its files must be there."""
        if self.source.task not in (self.task, Task.INFILL):
            kind = type(self).__name__.removesuffix("Reader")
            raise ConfigError(
                f"source '{self.source.name}': {self.source.path} is read as {kind}, which serves {self.task} and "
                f"infill, not {self.source.task}; correct task, or say what it is with kind"
            )
        if not self.text_files():
            raise SourceError(f"source '{self.source.name}': no {self.looked_for} in {self.source.path}")

    @abstractmethod
    def _found(self) -> Iterator[Row]:
        """The rows as the files give them."""

    def _all_rows(self) -> Iterator[Row]:
        for row in self._found():
            yield row if row.problem is not None else within(checked(row), "path")
