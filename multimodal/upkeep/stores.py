"""The stores of a workspace, each with what it holds, who needs it and when it was last used."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multimodal.errors import DatasetError
from multimodal.fingerprint import INDEX
from multimodal.latents import ErrorBound, LatentStore
from multimodal.latents.locks import is_written
from multimodal.lineage import encoder_names
from multimodal.upkeep.needs import Needs, encoders_named, known_index

USERS = ("stages/*/*/*", "checkpoints/*", "reports/*", "packages/*")
"""Folders whose indexes say that latents were used, and when."""


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """One store.

    Args:
        encoder: fingerprint of the encoder, the store's key.
        named: modality, kind and model, as the encode stage noted them; "" where it noted nothing.
        card: what the encoder states about itself: widths, tokens, preprocessing hash, SHA-256 of its weights.
        storage: type of the stored states, "" where the store cannot be read.
        contents, failed: how many contents it holds, and how many the encoder could not decode.
        num_bytes: of all its files.
        error_bound: of its tokens against what the encoder gave; None where a shard was never measured.
        datasets: of the workspace, that need it.
        packages: models that were trained on it.
        last_use: seconds since 1970, when a stage last finished that wrote or read it.
        being_written: whether a process adds to it now.
        problem: why it cannot be read, "" where it can.
    """

    encoder: str
    named: str
    card: dict[str, Any] = field(default_factory=dict)
    storage: str = ""
    contents: int = 0
    failed: int = 0
    num_bytes: int = 0
    error_bound: ErrorBound | None = None
    datasets: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    last_use: float = 0.0
    being_written: bool = False
    problem: str = ""


def list_stores(workspace: Path) -> list[StoreSummary]:
    """The finished stores of a workspace, by name.

    Raises:
        DatasetError: a finished dataset of the workspace cannot be read.
    """
    folders = store_folders(workspace)
    needs, names, uses = Needs.of(workspace), encoder_names(workspace), _last_uses(workspace)
    return [_summary(folder, needs, names.get(folder.name, ""), uses.get(folder.name, 0.0)) for folder in folders]


def store_folders(workspace: Path) -> list[Path]:
    """Folders of the finished stores of a workspace."""
    return sorted(index.parent for index in workspace.glob(f"latents/*/{INDEX}"))


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _summary(folder: Path, needs: Needs, named: str, last_use: float) -> StoreSummary:
    last_use = max(last_use, (folder / INDEX).stat().st_mtime)
    packages, size = needs.packages.get(folder.name, ()), folder_bytes(folder)
    try:
        store = LatentStore(folder)
    except (DatasetError, ValueError, KeyError) as error:
        datasets = needs.datasets_of(folder.name, ())
        return StoreSummary(
            folder.name, named, num_bytes=size, datasets=datasets, packages=packages, last_use=last_use,
            being_written=is_written(folder), problem=str(error) or type(error).__name__,
        )  # fmt: skip
    datasets = needs.datasets_of(folder.name, {*store, *store.failed})
    return StoreSummary(
        folder.name, named, store.card, str(store.storage), len(store), len(store.failed), size, store.error_bound,
        datasets, packages, last_use, is_written(folder),
    )  # fmt: skip


def _last_uses(workspace: Path) -> dict[str, float]:
    """Encoder fingerprint -> when an index was last written that names it."""
    uses: dict[str, float] = {}
    for path in (path for pattern in USERS for path in workspace.glob(f"{pattern}/{INDEX}")):
        for encoder in encoders_named(known_index(path.parent)):
            uses[encoder] = max(uses.get(encoder, 0.0), path.stat().st_mtime)
    return uses
