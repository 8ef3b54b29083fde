"""Registering: a model package becomes a version, is judged, and perhaps becomes champion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from multimodal.errors import CheckpointError, RegistryError
from multimodal.fingerprint import INDEX, file_digest
from multimodal.package import ModelPackage, load_predictor
from multimodal.promotion import Decision, GateOptions
from multimodal.registry.champions import judge, move_alias, set_tags, write_verdict
from multimodal.registry.evaluations import read_evidence, store_evaluation
from multimodal.registry.locks import registry_lock
from multimodal.registry.versions import (
    CHALLENGER,
    FINGERPRINT,
    PACKAGE_DIGEST,
    PROMOTED,
    REASON,
    VAL_SCORE,
    ModelVersionInfo,
    find_version,
    info_of,
    quiet_tracking_at,
)
from multimodal.serving import log_package
from multimodal.tracking import tracking_client

DEFAULT_GATE = GateOptions()


def register_model(
    workspace: Path,
    name: str,
    package: ModelPackage,
    run_id: str,
    score: float,
    *,
    evaluation: Path | None = None,
    gate: GateOptions = DEFAULT_GATE,
    promote: bool = True,
    approval: bool = False,
    facts: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    description: str = "",
) -> ModelVersionInfo:
    """Log a package as a model of a run, register it as the next version, judge it, and decide who is champion.

    A package that is registered already is not registered again; its version is returned as it is. Everything happens
    under the registry's lock, so two runs that end at once are judged one after the other, the second against the
    first if that won.

    Args:
        workspace: holds the tracking database, unless `MLFLOW_TRACKING_URI` names another.
        name: the registered model.
        package: what to register.
        run_id: run of the stage.
        score: on the val split; more is better.
        evaluation: folder of the evaluate stage; its report and predictions are stored with the version and judged.
            Without it only the val scores are compared.
        gate: limits that the version must keep to become champion.
        promote: whether the version may become champion.
        approval: judge the version, but leave it to `promote_version` to make it champion.
        facts: what the model card says, as JSON values; stored with the version.
        tags: fingerprints, scores, the flow run; see the package.
        description: shown in the dashboard.

    Raises:
        RegistryError: the package, loaded back, does not give its own probe's answers; nothing is registered then.
    """
    client = tracking_client(workspace)
    _check_answers(package)
    with registry_lock(client, workspace, name):
        known = find_version(workspace, name, package.fingerprint)
        if known is not None:
            return known
        with quiet_tracking_at(client.tracking_uri):
            info = _create(client, name, package, run_id, score, tags or {}, description)
            store_evaluation(client, run_id, evaluation, facts)
        decision, before = judge(workspace, name, read_evidence(evaluation, score, info.version), gate)
        write_verdict(client, info, decision, before)
        if promote and not approval and decision.passed:
            move_alias(client, name, info.version, before, "passed the gate")
        promoted = promote and not approval and decision.passed
        reason = _reason(decision, promote, approval)
        set_tags(client, name, info.version, {PROMOTED: str(promoted).lower(), REASON: reason})
        return info_of(client.get_model_version(name, str(info.version)))


def _create(
    client: MlflowClient,
    name: str,
    package: ModelPackage,
    run_id: str,
    score: float,
    tags: Mapping[str, str],
    description: str,
) -> ModelVersionInfo:
    model_uri = log_package(client, package, run_id)
    facts = {
        VAL_SCORE: repr(float(score)),
        FINGERPRINT: package.fingerprint,
        PACKAGE_DIGEST: file_digest(package.path / INDEX),
    }
    version = client.create_model_version(
        name, model_uri, run_id, {**tags, **facts}, description=description, model_id=Path(model_uri).name
    ).version
    client.set_registered_model_alias(name, CHALLENGER, version)
    return info_of(client.get_model_version(name, version))


def _reason(decision: Decision, promote: bool, approval: bool) -> str:
    if not promote:
        return "registry.promote is false"
    if decision.passed and approval:
        return f"waits for a person's approval; {decision.reason}"
    return decision.reason


def _check_answers(package: ModelPackage) -> None:
    """Refuse a package that, loaded back, does not write what it wrote when it was packed."""
    try:
        load_predictor(package.path, "cpu")
    except CheckpointError as error:
        raise RegistryError(f"{error}; nothing was registered: remove the folder and run the stage again") from error
