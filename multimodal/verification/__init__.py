"""Whether what lies on disk is what was written: everything that a fingerprint stands for, hashed again.

    finding   differences, notes
    files     indexes with their checksums, files with their digests
    datasets  datasets and ledgers, row by row
    pairs     scores of contents and texts
    folders   latents, checkpoints, packages, reports

An index holds a checksum of its own values and the SHA-256 of the folder's files; a folder in a workspace is named
after the fingerprint of the parts in its index. What an earlier version wrote is compared by what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from multimodal.errors import DatasetError
from multimodal.fingerprint import INDEX, read_index
from multimodal.verification.datasets import check_dataset, check_ledger
from multimodal.verification.finding import Check, Difference, Verification
from multimodal.verification.folders import (
    check_checkpoint,
    check_latents,
    check_package,
    check_report,
    check_stage,
)
from multimodal.verification.pairs import check_pairs

__all__ = ["Difference", "Verification", "verify"]

CHECKS: dict[str, tuple[str, Callable[[Check], None]]] = {
    "dataset": ("dataset", check_dataset),
    "ledger": ("ledger", check_ledger),
    "latents": ("latents", check_latents),
    "pairs": ("pair scores", check_pairs),
    "checkpoints": ("checkpoint", check_checkpoint),
    "packages": ("package", check_package),
    "reports": ("report", check_report),
    "stages": ("stage", check_stage),
}
"""Folder of a workspace -> kind of what lies in it, and how it is verified."""

SIGNS: dict[str, tuple[str, ...]] = {
    "latents": ("encoder_fingerprint",),
    "pairs": ("pairs", "left_out"),
    "packages": ("library", "files"),
    "dataset": ("digest", "media"),
    "reports": ("fingerprint", "parts"),
    "stages": ("record",),
    "checkpoints": ("result",),
    "ledger": ("counts",),
}
"""What each kind of index holds, by which a folder that lies elsewhere is recognised."""


def verify(path: Path) -> Iterator[Verification]:
    """Verify one folder, or all that lie in a workspace, one after the other.

    Args:
        path: a dataset, a ledger, a store of latents, a training's checkpoints or one of its steps, a model package, an
            evaluation, or a workspace.

    Raises:
        DatasetError: nothing that could be verified is there.
    """
    if (path / INDEX).is_file():
        yield _verify(path, _recognise(path))
    elif path.name.startswith("step-") and (path.parent / INDEX).is_file():
        check = Check(path.parent, "checkpoint")
        check_checkpoint(check, path.name)
        yield check.done()
    else:
        found = [folder for name in CHECKS for folder in _folders(path / name)]
        if not found:
            kinds = "a dataset, ledger, latents, checkpoint, package or report folder, or a workspace"
            raise DatasetError(f"nothing to verify at {path}: name {kinds}")
        yield from (_verify(folder, folder.relative_to(path).parts[0]) for folder in found)


def _folders(folder: Path) -> list[Path]:
    """Finished folders below one of a workspace's; records of stages lie deeper than the others."""
    depth = "*/*/*" if folder.name == "stages" else "*"
    return sorted(index.parent for index in folder.glob(f"{depth}/{INDEX}"))


def _verify(path: Path, name: str) -> Verification:
    kind, check_it = CHECKS[name]
    check = Check(path, kind)
    check_it(check)
    return check.done()


def _recognise(path: Path) -> str:
    """What a folder is: by the folder of a workspace that it lies in, else by what its index holds."""
    within = next((parent.name for parent in path.absolute().parents[:3] if parent.name in CHECKS), None)
    if within:
        return within
    try:
        index: Mapping[str, Any] = read_index(path) or {}
    except ValueError:
        index = {}
    for name, signs in SIGNS.items():
        if all(sign in index for sign in signs):
            return name
    raise DatasetError(f"the index of {path} is of no known kind, or cannot be read")
