"""The dataset as training and evaluation see it: without the samples that pair scores leave out."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from multimodal.dataset import Dataset
from multimodal.errors import DatasetError
from multimodal.pairs.table import index_of, left_out_ids, tables_of
from multimodal.sample import Sample


class FilteredDataset(Dataset):
    """A finished dataset without the samples that a table of pair scores leaves out; its fingerprint stays.

    Args:
        path: of the dataset.
        pairs: of the table.

    Raises:
        DatasetError: one of them is absent, or the table is of another dataset.
    """

    def __init__(self, path: Path, pairs: Path) -> None:
        super().__init__(path)
        self.pairs = pairs
        index = index_of(pairs)
        if index["parts"]["dataset"] != self.path.name:
            raise DatasetError(f"the pair scores at {pairs} are of dataset {index['parts']['dataset']}, not {path}")
        self.left_out: str = index["left_out"]

    @cached_property
    def _samples(self) -> list[Sample]:
        gone = left_out_ids(self.pairs) if self.left_out else frozenset()
        return [sample for sample in super()._samples if sample.sample_id not in gone]


def open_dataset(path: Path, pairs: Path | None = None) -> Dataset:
    """A dataset, without what its pair scores leave out where there are any.

    Raises:
        DatasetError: see `FilteredDataset`.
    """
    return Dataset(path) if pairs is None else FilteredDataset(path, pairs)


def left_out_of(dataset: Dataset) -> dict[str, str]:
    """What a result depends on beside the dataset's fingerprint: a digest of the samples that are left out, if any."""
    left_out = dataset.left_out if isinstance(dataset, FilteredDataset) else ""
    return {"left_out": left_out} if left_out else {}


def reopen_dataset(path: Path, left_out: str) -> Dataset:
    """A dataset as an earlier training saw it.

    Args:
        path: of the dataset.
        left_out: of the training's parts, "" for none.

    Raises:
        DatasetError: the table that says which samples these were is gone.
    """
    if not left_out:
        return Dataset(path)
    for folder in reversed(tables_of(path.parent.parent, path.name)):
        if index_of(folder)["left_out"] == left_out:
            return FilteredDataset(path, folder)
    raise DatasetError(f"the pair scores that say which samples of {path} were left out ({left_out}) are gone")
