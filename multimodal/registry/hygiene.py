"""Old versions: which may go, and removing them with their files."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from multimodal.registry.champions import champion_history
from multimodal.registry.locks import registry_lock
from multimodal.registry.versions import ModelVersionInfo, list_versions, registered_names
from multimodal.tracking import tracking_client

ROLLBACK_DEPTH = 3
"""Champions before the present one that are kept, for `rollback`."""


def removable_versions(workspace: Path, name: str) -> list[ModelVersionInfo]:
    """Versions that no alias points to and that are not among the last champions, newest first."""
    if name not in registered_names(workspace):
        return []
    kept = champion_history(workspace, name)[-1 - ROLLBACK_DEPTH :]
    return [info for info in list_versions(workspace, name) if not info.aliases and info.version not in kept]


def remove_versions(workspace: Path, name: str, versions: Sequence[int]) -> list[ModelVersionInfo]:
    """Remove versions, the files that they are loaded from, and their packages in the workspace.

    What is no longer removable by now is left alone: the list may be old. The runs that registered the versions stay,
    with their evaluations.

    Returns:
        the versions that are gone.
    """
    client = tracking_client(workspace)
    with registry_lock(client, workspace, name):
        chosen = [info for info in removable_versions(workspace, name) if info.version in versions]
        for info in chosen:
            source = client.get_model_version(info.name, str(info.version))
            client.delete_model_version(info.name, str(info.version))
            if model_id := _model_id(source):
                _remove_files(client.get_logged_model(model_id).artifact_location, client.tracking_uri)
                client.delete_logged_model(model_id)
    used = {info.fingerprint for other in registered_names(workspace) for info in list_versions(workspace, other)}
    for info in chosen:
        if info.fingerprint and info.fingerprint not in used:
            shutil.rmtree(workspace / "packages" / info.fingerprint, ignore_errors=True)
    return chosen


def version_bytes(workspace: Path, info: ModelVersionInfo) -> int:
    """Bytes of the files that a version is loaded from."""
    client = tracking_client(workspace)
    model_id = _model_id(client.get_model_version(info.name, str(info.version)))
    if not model_id:
        return 0
    model = client.get_logged_model(model_id)
    repository = get_artifact_repository(model.artifact_location, client.tracking_uri)
    folders: list[str | None] = [None]
    size = 0
    while folders:
        for file in repository.list_artifacts(folders.pop()):
            if file.is_dir:
                folders.append(file.path)
            else:
                size += file.file_size or 0
    return size


def _model_id(version: Any) -> str:
    """The logged model of a version, "" where there is none; a SQL registry names it in the source alone."""
    source = str(version.source)
    return str(version.model_id or (source.removeprefix("models:/") if source.startswith("models:/m-") else ""))


def _remove_files(location: str, tracking_uri: str) -> None:
    repository: Any = get_artifact_repository(location, tracking_uri)
    try:
        repository.delete_artifacts()
    except (MlflowException, FileNotFoundError):
        return  # gone already, or kept by a store that deletes nothing: `mlflow gc` takes what is left
