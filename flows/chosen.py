"""Which dataset a command is about: the newest of a configuration's pipeline, or the newest of a workspace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from multimodal.config import load_config
from multimodal.dataset import Dataset, DatasetInfo
from multimodal.errors import DatasetError
from multimodal.fingerprint import INDEX, read_index
from multimodal.pairs.table import tables_of


def chosen_workspace(conf: Path | None, workspace: Path | None) -> Path:
    """The workspace that is named, else the configuration's, else `workspace`."""
    if workspace is not None:
        return workspace
    return Path("workspace") if conf is None else load_config(conf).workspace


def chosen_dataset(conf: Path | None, workspace: Path | None) -> Dataset:
    """The newest dataset of a configuration's pipeline; without a configuration, of the workspace.

    Raises:
        ConfigError: the configuration is wrong.
        DatasetError: there is no such dataset.
    """
    at = chosen_workspace(conf, workspace)
    if conf is None:
        newest = _newest(at.glob(f"dataset/*/{INDEX}"))
        if newest is None:
            raise DatasetError(f"no dataset in {at}: `multimodal ingest CONF` makes one, --workspace names another")
        return Dataset(newest)
    name = load_config(conf).name
    newest = _newest(at.glob(f"stages/{name}/ingest/*/{INDEX}"))
    if newest is None:
        raise DatasetError(f"no dataset of pipeline '{name}' in {at}; run `multimodal ingest {conf}`")
    record = (read_index(newest) or {})["record"]
    return Dataset(at / "dataset" / Path(record["path"]).name)


def chosen_pairs(conf: Path | None, info: DatasetInfo) -> Path | None:
    """The pair scores that a dataset is filtered by: the newest of the configuration's pipeline, if it asks for any;
    without a configuration, the newest of the dataset."""
    workspace = info.path.parent.parent
    tables = tables_of(workspace, info.fingerprint)
    if conf is None:
        return tables[-1] if tables else None
    config = load_config(conf)
    if config.encode.pairs is None:
        return None
    records = workspace.glob(f"stages/{config.name}/pairs/*/{INDEX}")
    own = {Path((read_index(index.parent) or {})["record"]["path"]).name for index in records}
    return next((table for table in reversed(tables) if table.name in own), None)


def _newest(indexes: Iterable[Path]) -> Path | None:
    """The folder whose index was written last; the name decides between two of one moment."""
    found = max(indexes, key=lambda path: (path.stat().st_mtime, path.parent.name), default=None)
    return found.parent if found else None
