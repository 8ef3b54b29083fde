"""A plain text file as a source: every line is a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from multimodal.errors import ConfigError
from multimodal.ingest.locations import TOO_LONG, Location, bounded_lines
from multimodal.ingest.manifests import LONG_LINE
from multimodal.ingest.reader import Reader, Row, checked
from multimodal.ingest.reasons import Reason
from multimodal.sample import Task


class TextReader(Reader):
    """A `.txt` file, one text per line, for the tasks that need nothing but a text; blank lines are no rows."""

    @classmethod
    def recognises(cls, path: Location, names: Sequence[str]) -> bool:
        """A `.txt` file that no manifest reader recognises: this reader is asked last."""
        return not names and path.suffix.lower() == ".txt"

    @property
    def media_root(self) -> Location:
        """The file's folder; no row names media."""
        return self.source.path.parent

    def check(self) -> None:
        """Lines hold no pairs: infill alone can use them."""
        if self.source.task is not Task.INFILL:
            raise ConfigError(
                f"source '{self.source.name}': {self.source.path} is plain text, which serves infill; task "
                f"{self.source.task} needs a manifest (CSV, TSV or JSON lines) with the columns of its pairs"
            )

    def text_files(self) -> list[Location]:
        """The file."""
        return [self.source.path]

    def _all_rows(self) -> Iterator[Row]:
        with self.source.path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(bounded_lines(lines), start=1):
                if line is TOO_LONG:
                    yield Row(f"{self.source.path.name}#{number}", {}, {}, Reason.TEXT_TOO_LONG, LONG_LINE)
                elif line.strip():
                    yield checked(Row(f"{self.source.path.name}#{number}", {"text": line.rstrip("\r\n")}))
