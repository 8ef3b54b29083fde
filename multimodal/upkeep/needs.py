"""Who needs the latents of a workspace: datasets by their contents and by what was encoded, packages by encoder."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from multimodal.dataset import Dataset
from multimodal.errors import DatasetError
from multimodal.fingerprint import INDEX, read_index
from multimodal.sample import Modality

PACKAGES = ("packages/*", "mlartifacts/models/*/artifacts/artifacts/*")
"""Where model packages lie: as they were made, and as MLflow keeps them."""


@dataclass(frozen=True, slots=True)
class EncodeRecord:
    """What an encode stage noted when it had finished.

    Args:
        path: its folder.
        dataset: fingerprint, "" where the record names none.
        encoders: fingerprints of the encoders.
    """

    path: Path
    dataset: str
    encoders: frozenset[str]


@dataclass(frozen=True, slots=True)
class Needs:
    """What a workspace needs at one moment.

    Args:
        contents: name of each finished dataset -> the contents that are encoded for it.
        records: of finished encode stages.
        packages: encoder fingerprint -> names of the model packages that were trained on its latents.
    """

    contents: dict[str, frozenset[str]]
    records: tuple[EncodeRecord, ...]
    packages: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, workspace: Path) -> Needs:
        """What a workspace needs now.

        Raises:
            DatasetError: a finished dataset cannot be read, so that nobody knows what it needs.
        """
        folders = [index.parent for index in sorted(workspace.glob(f"dataset/*/{INDEX}"))]
        return cls(
            {folder.name: _contents(folder) for folder in folders},
            tuple(_records(workspace)),
            _packages(workspace),
        )

    def datasets_of(self, encoder: str, known: Collection[str]) -> tuple[str, ...]:
        """The datasets that need a store.

        A dataset needs it if an encode stage has filled it for the dataset, or, where the stage was interrupted or
        forgotten, if any of the dataset's contents is in it.

        Args:
            encoder: fingerprint, the name of the store.
            known: contents that it holds or has failed on.
        """
        encoded = {record.dataset for record in self.records if encoder in record.encoders}
        held = set(known)
        return tuple(name for name, ids in self.contents.items() if name in encoded or not held.isdisjoint(ids))

    def wanted(self, content_ids: Collection[str]) -> bool:
        """Whether any dataset has any of these contents."""
        held = set(content_ids)
        return any(not held.isdisjoint(ids) for ids in self.contents.values())

    def stale_records(self, encoder: str) -> list[EncodeRecord]:
        """Records that say that the contents of a dataset that is gone are in a store."""
        return [record for record in self.records if encoder in record.encoders and record.dataset not in self.contents]


def encoders_named(index: dict[str, Any]) -> set[str]:
    """Fingerprints of the encoders that the index of a stage, training, report or package names."""
    parts = index.get("parts", {}).get("encoders", {})
    made = index.get("record", {}).get("latents", ()) if isinstance(index.get("record"), dict) else ()
    return {name for name in parts.values() if isinstance(name, str)} | {
        str(one["encoder_fingerprint"]) for one in made
    }


def known_index(folder: Path) -> dict[str, Any]:
    """The index of a folder; one that is damaged is an error, since it may name what is needed."""
    try:
        return read_index(folder) or {}
    except ValueError as error:
        raise DatasetError(f"the index of {folder} cannot be read: {error}; see `multimodal verify`") from error


def _contents(folder: Path) -> frozenset[str]:
    try:
        dataset = Dataset(folder)
        found, kept = dataset.table("sample_id").num_rows, dataset.info.counts.kept
        if found != kept:  # a part that is gone would make its contents look unneeded
            raise ValueError(f"{found:,} samples found, {kept:,} written")
        return frozenset(content_id for modality in Modality for content_id in dataset.content_ids(modality))
    except (DatasetError, pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise DatasetError(
            f"dataset {folder} cannot be read ({reason}), so that nobody knows which latents it needs; "
            f"see `multimodal verify {folder}`"
        ) from error


def _records(workspace: Path) -> Iterator[EncodeRecord]:
    for path in sorted(workspace.glob(f"stages/*/encode/*/{INDEX}")):
        index = known_index(path.parent)
        yield EncodeRecord(
            path.parent, str(index.get("parts", {}).get("dataset", "")), frozenset(encoders_named(index))
        )


def _packages(workspace: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for index in sorted(index for pattern in PACKAGES for index in workspace.glob(f"{pattern}/{INDEX}")):
        for encoder in encoders_named(known_index(index.parent)):
            found.setdefault(encoder, set()).add(index.parent.name)
    return {encoder: tuple(sorted(names)) for encoder, names in found.items()}
