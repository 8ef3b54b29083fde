"""Versions of registered models: what is known of them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from multimodal.errors import RegistryError
from multimodal.promotion import Rule
from multimodal.tracking import tracking_client

CHAMPION, CHALLENGER = "champion", "challenger"
VAL_SCORE, FINGERPRINT, PROMOTED, REASON = "val_score", "fingerprint", "promoted", "reason"
CHAMPION_BEFORE, PACKAGE_DIGEST = "champion_before", "package.sha256"
GATE = "gate."
URI = re.compile(r"models:/(?P<name>[^/@]+)[/@](?P<which>[^/@]+)")
"""`models:/name/3` or `models:/name@champion`, as MLflow writes them."""


@dataclass(frozen=True, slots=True)
class ModelVersionInfo:
    """One version of a registered model.

    Args:
        name: the registered model: the configuration's name.
        version: 1, 2, ...
        uri: for `mlflow.pyfunc.load_model`.
        aliases: that point to it now.
        score: on the val split.
        champion_before: version that it was judged against, None if there was no champion.
        promoted: whether this version became champion when it was registered, or by a person's decision later.
        reason: why, or why not.
        fingerprint: of its package.
        run_id: the MLflow run that registered it.
        gate: the verdicts of the promotion gate; none for versions that were registered before there was one.
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
    gate: tuple[Rule, ...] = ()


def parse_uri(uri: str) -> tuple[str, str]:
    """Name of a registered model, and its version's number or alias.

    Raises:
        RegistryError: the URI is no registered model's.
    """
    parts = URI.fullmatch(uri)
    if parts is None:
        raise RegistryError(f"'{uri}' is not of the form models:/name@champion or models:/name/3")
    return parts["name"], parts["which"]


def find_version(workspace: Path, name: str, fingerprint: str) -> ModelVersionInfo | None:
    """The version that holds the package of that fingerprint, None if there is none."""
    return next((info for info in list_versions(workspace, name) if info.fingerprint == fingerprint), None)


def list_versions(workspace: Path, name: str) -> list[ModelVersionInfo]:
    """All versions of a registered model, newest first; none if nothing is registered under that name."""
    client = tracking_client(workspace)
    found = client.search_model_versions(f"name = '{name}'", max_results=1000)
    versions = sorted((int(version.version) for version in found), reverse=True)
    # With aliases, unlike what the search finds.
    return [info_of(client.get_model_version(name, str(version))) for version in versions]


def registered_names(workspace: Path) -> list[str]:
    """Names of all registered models, sorted."""
    return sorted(model.name for model in tracking_client(workspace).search_registered_models(max_results=1000))


def champion(workspace: Path, name: str) -> ModelVersionInfo:
    """The version in use.

    Raises:
        RegistryError: nothing is registered under that name, or no version is champion.
    """
    found = by_alias(tracking_client(workspace), name, CHAMPION)
    if found is None:
        _require_name(workspace, name)
        raise RegistryError(
            f"no version of '{name}' is champion: run `multimodal run CONF` with registry.promote=true, "
            f"or see `multimodal models ls` and `multimodal models promote VERSION --model {name}`"
        )
    return info_of(found)


def the_version(workspace: Path, name: str, which: str) -> ModelVersionInfo:
    """A version by its number or by an alias: `3`, `champion`, `challenger`.

    Raises:
        RegistryError: there is none.
    """
    if which == CHAMPION:
        return champion(workspace, name)
    _require_name(workspace, name)
    client = tracking_client(workspace)
    try:
        found = client.get_model_version(name, which) if which.isdigit() else by_alias(client, name, which)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        found = None
    if found is None:
        known = ", ".join(str(info.version) for info in list_versions(workspace, name))
        raise RegistryError(f"'{name}' has no version '{which}'; it has {known or 'none'}, champion and challenger")
    return info_of(found)


def tags_of(workspace: Path, info: ModelVersionInfo) -> dict[str, str]:
    """All tags of a version."""
    return dict(tracking_client(workspace).get_model_version(info.name, str(info.version)).tags)


def description_of(workspace: Path, info: ModelVersionInfo) -> str:
    """The model card that the registry shows."""
    return str(tracking_client(workspace).get_model_version(info.name, str(info.version)).description or "")


def describe_version(workspace: Path, info: ModelVersionInfo, markdown: str) -> None:
    """Set the model card that the registry shows."""
    tracking_client(workspace).update_model_version(info.name, str(info.version), description=markdown)


def rule_tags(rules: tuple[Rule, ...]) -> dict[str, str]:
    """A gate's verdicts as tags."""
    tags: dict[str, str] = {}
    for rule in rules:
        name = f"{GATE}{rule.name}"
        tags |= {name: "passed" if rule.passed else "failed", f"{name}.text": rule.text}
        numbers = {"value": rule.value, "limit": rule.limit}
        tags |= {f"{name}.{key}": "" if number is None else repr(float(number)) for key, number in numbers.items()}
    return tags


def by_alias(client: MlflowClient, name: str, alias: str) -> Any:
    """MLflow's record of the version that an alias points to, None where there is none."""
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


@contextmanager
def quiet_tracking_at(uri: str) -> Iterator[None]:
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


def info_of(version: Any) -> ModelVersionInfo:
    """The record of what MLflow knows of a version."""
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
        gate=tuple(_rules(tags)),
    )


def _rules(tags: Mapping[str, str]) -> Iterator[Rule]:
    for key in tags:
        name = key.removeprefix(GATE)
        if name != key and f"{key}.text" in tags:
            numbers = (tags.get(f"{key}.{part}") for part in ("value", "limit"))
            value, limit = (float(number) if number else None for number in numbers)
            yield Rule(name, value, limit, tags[key] == "passed", tags[f"{key}.text"])


def _require_name(workspace: Path, name: str) -> None:
    names = registered_names(workspace)
    if name not in names:
        others = f"; registered are {', '.join(names)}" if names else ""
        raise RegistryError(f"no model '{name}' is registered{others}: run `multimodal run CONF` first")
