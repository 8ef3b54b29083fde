"""Registered models: versions with their scores, and the aliases that say which one is in use.

Every new version gets the alias `challenger`; it gets `champion` when its score on the val split beats the current
champion's, or when there is none. What a version's tags hold, all as text:

    val_score               the sampled score on the val split that decided
    fingerprint             of the model package; registering the same package again returns its version
    dataset.fingerprint     and further fingerprints of what the version was made from
    test/caption/cider_d    every score of the report, with its controls as in `multimodal.tracking`
    promoted, reason        whether it became champion when it was registered, and why (not)
    prefect.flow_run_id     the flow run that made it
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from multimodal.errors import RegistryError
from multimodal.package import ModelPackage, changed_answers, load_predictor
from multimodal.predictor import Predictor
from multimodal.serving import log_package
from multimodal.tracking import file_lock, tracking_client

CHAMPION, CHALLENGER = "champion", "challenger"
VAL_SCORE, FINGERPRINT, PROMOTED, REASON = "val_score", "fingerprint", "promoted", "reason"
CHAMPION_BEFORE = "champion_before"

LOCK = "registry.lock"


@dataclass(frozen=True, slots=True)
class ModelVersionInfo:
    """One version of a registered model.

    Args:
        name: the registered model: the configuration's name.
        version: 1, 2, ...
        uri: for `mlflow.pyfunc.load_model`.
        aliases: that point to it now.
        score: on the val split.
        champion_before: version that was champion when this one was registered, None if there was none.
        promoted: whether this version became champion when it was registered.
        reason: why, or why not.
        fingerprint: of its package.
        run_id: the MLflow run that registered it.
    """

    name: str
    version: int
    uri: str
    aliases: tuple[str, ...]
    score: float
    champion_before: int | None
    promoted: bool
    reason: str
    fingerprint: str
    run_id: str


def register_model(
    workspace: Path,
    name: str,
    package: ModelPackage,
    run_id: str,
    score: float,
    *,
    promote: bool = True,
    tags: Mapping[str, str] | None = None,
    description: str = "",
) -> ModelVersionInfo:
    """Log a package as a model of a run, register it as the next version, and decide who is champion.

    A package that is registered already is not registered again; its version is returned as it is.

    Args:
        workspace: holds the tracking database, unless `MLFLOW_TRACKING_URI` names another.
        name: the registered model.
        package: what to register.
        run_id: run of the stage.
        score: on the val split; more is better.
        promote: whether the version may become champion.
        tags: fingerprints, scores, the flow run; see the module.
        description: shown in the dashboard.

    Raises:
        RegistryError: the package, loaded back, does not give its own probe's answers; nothing is registered then.
    """
    client = tracking_client(workspace)
    with file_lock(workspace / LOCK):  # two runs that end at once decide one after the other
        known = find_version(workspace, name, package.fingerprint)
        if known is not None:
            return known
        _check_answers(package)
        with _quiet_tracking_at(client.tracking_uri):
            return _register(client, name, package, run_id, score, promote, tags or {}, description)


def find_version(workspace: Path, name: str, fingerprint: str) -> ModelVersionInfo | None:
    """The version that holds the package of that fingerprint, None if there is none."""
    return next((info for info in list_versions(workspace, name) if info.fingerprint == fingerprint), None)


def list_versions(workspace: Path, name: str) -> list[ModelVersionInfo]:
    """All versions of a registered model, newest first; none if nothing is registered under that name."""
    client = tracking_client(workspace)
    found = client.search_model_versions(f"name = '{name}'", max_results=1000)
    versions = sorted((int(version.version) for version in found), reverse=True)
    return [_info(client.get_model_version(name, str(version))) for version in versions]  # with aliases, unlike search


def registered_names(workspace: Path) -> list[str]:
    """Names of all registered models, sorted."""
    return sorted(model.name for model in tracking_client(workspace).search_registered_models(max_results=1000))


def champion(workspace: Path, name: str) -> ModelVersionInfo:
    """The version in use.

    Raises:
        RegistryError: nothing is registered under that name, or no version is champion.
    """
    found = _by_alias(tracking_client(workspace), name, CHAMPION)
    if found is None:
        names = registered_names(workspace)
        if name not in names:
            others = f"; registered are {', '.join(names)}" if names else ""
            raise RegistryError(f"no model '{name}' is registered{others}: run `multimodal run CONF` first")
        raise RegistryError(f"no version of '{name}' is champion: run `multimodal run CONF` with registry.promote=true")
    return _info(found)


def load_champion(workspace: Path, name: str, device: str = "auto") -> Predictor:
    """The champion, ready to predict.

    Raises:
        RegistryError: there is no champion, or its files cannot be fetched.
    """
    info = champion(workspace, name)
    return load_version(workspace, info, device)


def load_version(workspace: Path, info: ModelVersionInfo, device: str = "auto") -> Predictor:
    """A registered version, ready to predict, by the code that is installed here.

    Raises:
        RegistryError: its files cannot be fetched.
        CheckpointError: its files are not those that were registered.
    """
    uri = tracking_client(workspace).tracking_uri
    with TemporaryDirectory() as downloads:
        try:
            with _quiet_tracking_at(uri):
                target = downloads if uri.startswith("http") else None  # local files are read where they are
                folder = Path(download_artifacts(artifact_uri=info.uri, dst_path=target, tracking_uri=uri))
        except (MlflowException, OSError) as error:
            raise RegistryError(f"the files of {info.uri} cannot be fetched from {uri}: {error}") from error
        return load_predictor(folder / "artifacts" / info.fingerprint, device)


def _register(
    client: MlflowClient,
    name: str,
    package: ModelPackage,
    run_id: str,
    score: float,
    promote: bool,
    tags: Mapping[str, str],
    description: str,
) -> ModelVersionInfo:
    model_uri = log_package(client, package, run_id)
    before = _by_alias(client, name, CHAMPION)
    promoted, reason = _judge(score, before, promote)
    facts = {
        VAL_SCORE: repr(float(score)),
        FINGERPRINT: package.fingerprint,
        PROMOTED: str(promoted).lower(),
        REASON: reason,
        CHAMPION_BEFORE: "" if before is None else str(before.version),
    }
    _create_registered_model(client, name)
    model_id = Path(model_uri).name
    version = client.create_model_version(
        name, model_uri, run_id, {**tags, **facts}, description=description, model_id=model_id
    ).version
    for alias in (CHALLENGER, CHAMPION) if promoted else (CHALLENGER,):
        client.set_registered_model_alias(name, alias, version)
    return _info(client.get_model_version(name, version))


def _check_answers(package: ModelPackage) -> None:
    """Refuse a package that answers most of its probe differently; another processor's rounding may turn one."""
    changed = changed_answers(package, load_predictor(package.path, "cpu"))
    if 2 * len(changed) > len(package.probe):
        raise RegistryError(
            f"the package {package.path}, loaded back, answers {len(changed)} of {len(package.probe)} probes "
            f"differently: {changed[0]}; remove the folder and run the stage again"
        )


def _judge(score: float, champion: Any, promote: bool) -> tuple[bool, str]:
    """Whether a new version becomes champion, and why."""
    if not promote:
        return False, "registry.promote is false"
    if not math.isfinite(score):
        return False, f"its val score is {score}"
    if champion is None:
        return True, "there was no champion"
    before = float(champion.tags.get(VAL_SCORE, "nan"))
    if math.isnan(before):
        return True, f"champion version {champion.version} has no val score"
    verdict = "beats" if score > before else "does not beat"
    return score > before, f"val score {score:.4f} {verdict} {before:.4f} of champion version {champion.version}"


def _create_registered_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _by_alias(client: MlflowClient, name: str, alias: str) -> Any:
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


@contextmanager
def _quiet_tracking_at(uri: str) -> Iterator[None]:
    """MLflow's global tracking URI, for what takes no client, without its progress bars; put back afterwards."""
    before: Any = os.environ.get("MLFLOW_TRACKING_URI")
    bars = os.environ.get("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")
    logger = logging.getLogger("mlflow")
    level = logger.level
    mlflow.set_tracking_uri(uri)  # sets the variable too
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
        os.environ.pop("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")
        if bars is not None:
            os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = bars
        mlflow.set_tracking_uri(before)


def _info(version: Any) -> ModelVersionInfo:
    tags = version.tags
    before = tags.get(CHAMPION_BEFORE, "")
    return ModelVersionInfo(
        name=version.name,
        version=int(version.version),
        uri=f"models:/{version.name}/{version.version}",
        aliases=tuple(sorted(version.aliases)),
        score=float(tags.get(VAL_SCORE, "nan")),
        champion_before=int(before) if before else None,
        promoted=tags.get(PROMOTED) == "true",
        reason=tags.get(REASON, ""),
        fingerprint=tags.get(FINGERPRINT, ""),
        run_id=version.run_id or "",
    )
