"""Registered versions as files and as predictors: fetched, and compared with what was registered."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from multimodal.errors import CheckpointError, RegistryError
from multimodal.fingerprint import INDEX, file_digest, new_folder
from multimodal.package import load_predictor
from multimodal.predictor import Predictor
from multimodal.registry.encoders import MODALITY
from multimodal.registry.versions import (
    PACKAGE_DIGEST,
    ModelVersionInfo,
    champion,
    parse_uri,
    quiet_tracking_at,
    the_version,
)
from multimodal.tracking import tracking_client


def load_champion(workspace: Path, name: str, device: str = "auto") -> Predictor:
    """The champion, ready to predict.

    Raises:
        RegistryError: there is no champion, or its files cannot be fetched.
        CheckpointError: see `load_version`.
    """
    info = champion(workspace, name)
    return load_version(workspace, info, device)


def load_version(workspace: Path, info: ModelVersionInfo, device: str = "auto") -> Predictor:
    """A registered version, ready to predict, by the code that is installed here.

    Raises:
        RegistryError: its files cannot be fetched.
        CheckpointError: its files are not those that were registered, or it does not write what it wrote when it was
            packed.
    """
    with TemporaryDirectory() as downloads:
        return load_predictor(_package(workspace, info, Path(downloads)), device)


def fetch_package(workspace: Path, uri: str) -> Path:
    """The package folder of a registered model, `models:/name@champion` or `models:/name/3`: where it is, if the
    registry's files are on this machine, else a copy in `workspace/models/<fingerprint>`.

    Raises:
        RegistryError: there is no such version, or its files cannot be fetched.
        CheckpointError: its files are not those that were registered.
    """
    info = the_version(workspace, *parse_uri(uri))
    if not tracking_client(workspace).tracking_uri.startswith("http"):
        return _package(workspace, info, workspace)
    copy = workspace / "models" / info.fingerprint
    if not (copy / INDEX).is_file():
        with TemporaryDirectory() as downloads, new_folder(copy) as new:
            shutil.copytree(_package(workspace, info, Path(downloads)), new, dirs_exist_ok=True)
    return copy


def _package(workspace: Path, info: ModelVersionInfo, downloads: Path) -> Path:
    """A version's package folder, below `downloads` where the registry is another machine's."""
    client = tracking_client(workspace)
    uri = client.tracking_uri
    tags = client.get_model_version(info.name, str(info.version)).tags
    expected = tags.get(PACKAGE_DIGEST)
    if MODALITY in tags:
        raise RegistryError(
            f"{info.uri} is an encoder of {tags[MODALITY]}, no model that writes; name it in a configuration as "
            f"encode.{tags[MODALITY]}.weights"
        )
    try:
        with quiet_tracking_at(uri):
            target = str(downloads) if uri.startswith("http") else None  # local files are read where they are
            folder = Path(download_artifacts(artifact_uri=info.uri, dst_path=target, tracking_uri=uri))
    except (MlflowException, OSError) as error:
        raise RegistryError(f"the files of {info.uri} cannot be fetched from {uri}: {error}") from error
    package = folder / "artifacts" / info.fingerprint
    index = package / INDEX
    if expected and (not index.is_file() or file_digest(index) != expected):
        raise CheckpointError(
            f"{index} is not the one that was registered as {info.name} version {info.version} "
            f"(SHA-256 {expected[:16]}...): restore the file, or roll back with `multimodal rollback {info.name}`"
        )
    return package
