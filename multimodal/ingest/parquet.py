"""Parquet as a source: a table of one row per sample, and the folders of Hugging Face `datasets`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from multimodal.errors import SourceError, UnreachableError
from multimodal.ingest.cells import ARROW_ERRORS, RowGroups
from multimodal.ingest.locations import Location, files_under, join, open_plain, relative_name
from multimodal.ingest.manifests import ManifestReader, Unreadable, record_row
from multimodal.ingest.options import Column
from multimodal.ingest.parquet_records import FileRecords, media_leaf
from multimodal.ingest.reader import Row, within
from multimodal.ingest.reasons import Reason
from multimodal.ingest.refs import ParquetCell, name_problem
from multimodal.ingest.split_names import split_word
from multimodal.sample import Modality


class ParquetReader(ManifestReader):
    """Parquet with one row per sample. The column of the media holds its path, its bytes, or both.

    Both is a struct of `bytes` and `path`; where the bytes are null, the file at the path, which is relative to
    `media_root`, is read. A list of texts gives a row per text. Further columns of plain types are attributes.
    """

    suffix = ".parquet"

    @property
    def media_root(self) -> Location:
        """`media_root` of the source, else the folder of the files."""
        return self.source.media_root or (self.source.path if self.source.path.is_dir() else self.source.path.parent)

    def text_files(self) -> list[Location]:
        """The Parquet files."""
        return self._files

    def columns(self) -> list[str]:
        """Names of the columns of the first file that can be read."""
        return list(self._schema.names)

    @cached_property
    def _files(self) -> list[Location]:
        return files_under(self.source.path, self.suffix) if self.source.path.is_dir() else [self.source.path]

    @cached_property
    def _schema(self) -> pa.Schema:
        problem = "there is none"
        for file in self._files:
            try:
                with open_plain(file) as opened:
                    return pq.read_schema(opened)
            except UnreachableError:
                raise
            except ARROW_ERRORS as error:
                problem = f"{file.name}: {error}"
        raise SourceError(f"source '{self.source.name}': no Parquet that can be read at {self.source.path}; {problem}")

    @cached_property
    def _row_groups(self) -> RowGroups:
        return RowGroups()

    @cached_property
    def _is_downloaded(self) -> bool:
        """Whether the names in it are those of whoever published it; a single table of paths is the user's own."""
        return self.source.path.is_dir()

    def _split_of(self, name: str) -> str:
        """The split that the name of a file tells."""
        return ""

    def _all_rows(self) -> Iterator[Row]:
        columns = self._standard_columns()
        named = columns.get("path", "") if self.source.task.modality is not Modality.TEXT else ""
        for file in self._files:
            name = relative_name(file, self.source.path) if self.source.path.is_dir() else file.name
            try:
                records = FileRecords(file, named, columns)
            except UnreachableError:
                raise
            except (*ARROW_ERRORS, KeyError) as error:
                yield Row(name, {}, {}, Reason.INVALID_ARCHIVE, str(error))
                continue
            for group, number, record in records.all():
                uri = f"{name}#{group}.{number}"
                if isinstance(record, Unreadable):
                    yield record_row(uri, record, columns)
                    continue
                cell = self._cell(records, group, number, record) if records.leaf else None
                yield from self._rows_of(uri, record, columns, cell, self._split_of(name))

    def _rows_of(
        self, uri: str, record: Mapping[str, Any], columns: Mapping[str, str], cell: ParquetCell | None, split: str
    ) -> Iterator[Row]:
        """A row per text of a record."""
        column = columns["text"]
        texts = record[column] if isinstance(record[column], list) else [record[column]]
        for number, text in enumerate(texts or [None], start=1):
            row = record_row(f"{uri}/{number}" if len(texts) > 1 else uri, {**record, column: text}, columns)
            if split and "split" not in row.values and row.problem is None:
                row = replace(row, values={**row.values, "split": split})
            if cell is not None:
                yield within(replace(row, media=cell), "picture")
            else:
                yield within(row, "path", "picture") if self._is_downloaded else row

    def _cell(self, records: FileRecords, group: int, number: int, record: Mapping[str, Any]) -> ParquetCell:
        path = record.get(records.media) or ""
        beside = join(self.media_root, path) if path and records.may_be_null(group) and not name_problem(path) else None
        return ParquetCell(records.file, group, number, records.leaf, beside, self._row_groups)


class HuggingFaceReader(ParquetReader):
    """A folder of Parquet files as Hugging Face `datasets` writes it: the split is in the file's name.

    Without `columns`, the media is the first column of a picture or a sound, and the text the first of `TEXT_COLUMNS`.
    """

    TEXT_COLUMNS = ("text", "caption", "captions", "transcription", "transcript", "sentence", "normalized_text")

    @classmethod
    def recognises(cls, path: Location, names: Sequence[str]) -> bool:
        """A folder that holds Parquet files."""
        return any(name.endswith(cls.suffix) for name in names)

    def mapped_columns(self) -> dict[Column, str]:
        """Those of the source, and what stands for media and text where it names none."""
        found: dict[Column, str | None] = {
            "text": next((name for name in self.TEXT_COLUMNS if name in self._schema.names), None),
            "path": next((field.name for field in self._schema if media_leaf(field)), None),
        }
        wanted = {name: column for name, column in found.items() if column is not None}
        if self.source.task.modality is Modality.TEXT:
            wanted.pop("path", None)
        return wanted | super().mapped_columns()

    @cached_property
    def _is_downloaded(self) -> bool:
        return True

    def _split_of(self, name: str) -> str:
        return split_word(name)
