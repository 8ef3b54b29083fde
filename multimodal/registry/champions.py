"""Who is champion: judging, moving the alias so that only one of two wins, and going back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from multimodal.errors import RegistryError
from multimodal.promotion import Decision, Evidence, GateOptions, decide
from multimodal.registry.evaluations import evidence_of
from multimodal.registry.locks import registry_lock
from multimodal.registry.versions import (
    CHAMPION,
    CHAMPION_BEFORE,
    PROMOTED,
    REASON,
    ModelVersionInfo,
    by_alias,
    champion,
    info_of,
    rule_tags,
    the_version,
)
from multimodal.tracking import tracking_client

HISTORY = "champion.history"
SINCE, UNTIL, NOTE = "champion.since", "champion.until", "champion.note"


def judge(workspace: Path, name: str, evidence: Evidence, gate: GateOptions) -> tuple[Decision, int | None]:
    """Judge a version by the gate against the champion of now; also that champion's version, None if there is none."""
    found = by_alias(tracking_client(workspace), name, CHAMPION)
    if found is None:
        return decide(evidence, None, gate), None
    return decide(evidence, evidence_of(workspace, info_of(found)), gate), int(found.version)


def promote_version(
    workspace: Path, info: ModelVersionInfo, note: str, gate: GateOptions | None = None
) -> ModelVersionInfo:
    """Make a registered version champion by a person's decision.

    Args:
        workspace: holds the registry, unless `MLFLOW_TRACKING_URI` names another.
        info: the version.
        note: who decided, or why; kept in its tags.
        gate: where the champion is no longer the one that the version was judged against, it is judged by this gate
            again, and stays what it is if it does not pass; None promotes it whatever the gate says.
    """
    client = tracking_client(workspace)
    with registry_lock(client, workspace, info.name):
        found = by_alias(client, info.name, CHAMPION)
        before = int(found.version) if found is not None else None
        if before == info.version:
            return info_of(found)
        reason = f"{info.reason}; {note}" if info.reason else note
        if gate is not None and before != info.champion_before:
            decision, before = judge(workspace, info.name, evidence_of(workspace, info), gate)
            write_verdict(client, info, decision, before)
            reason = f"{decision.reason}; {note}"
            if not decision.passed:
                return the_version(workspace, info.name, str(info.version))
        move_alias(client, info.name, info.version, before, note)
        set_tags(client, info.name, info.version, {PROMOTED: "true", REASON: reason})
    return the_version(workspace, info.name, str(info.version))


def rollback(workspace: Path, name: str, note: str = "rolled back") -> ModelVersionInfo:
    """Make the champion before the present one champion again.

    Raises:
        RegistryError: there is no champion, or none before it is left.
    """
    client = tracking_client(workspace)
    present = champion(workspace, name)  # an unknown name is not created
    with registry_lock(client, workspace, name):
        history = champion_history(workspace, name)
        if len(history) < 2:
            raise RegistryError(
                f"version {present.version} is the only champion of '{name}' that there is; "
                f"`multimodal models promote VERSION --model {name}` makes another version champion"
            )
        *kept, current = history
        _set_alias(client, name, kept[-1], current)
        _write_history(client, name, kept)
        set_tags(client, name, current, {UNTIL: _now(), NOTE: note})
        set_tags(client, name, kept[-1], {SINCE: _now(), UNTIL: "", NOTE: f"back after version {current}"})
    return champion(workspace, name)


def champion_history(workspace: Path, name: str) -> list[int]:
    """Versions that were champion and still exist, oldest first; the last one is champion now, if any is."""
    client = tracking_client(workspace)
    found = by_alias(client, name, CHAMPION)
    stored = client.get_registered_model(name).tags.get(HISTORY)
    present = int(found.version) if found is not None else None
    history = json.loads(stored) if stored else _chain(client, name, found)
    if present is not None and history[-1:] != [present]:
        history.append(present)  # moved by hand, or by a process that died before it wrote the history
    known = {int(version.version) for version in client.search_model_versions(f"name = '{name}'", max_results=1000)}
    return [version for version in history if version in known]


def move_alias(client: MlflowClient, name: str, version: int, before: int | None, note: str) -> None:
    """Make a version champion in the place of the one that it was judged against, and write it down.

    The caller holds `registry_lock`. The alias is one row of the registry, so whoever asks for the champion gets the
    old one or the new one.

    Raises:
        RegistryError: the champion is another by now.
    """
    history = _history_before(client, name, before)
    _set_alias(client, name, version, before)
    _write_history(client, name, [*history, version])
    set_tags(client, name, version, {SINCE: _now(), NOTE: note})
    if before is not None:
        set_tags(client, name, before, {UNTIL: _now()})


def write_verdict(client: MlflowClient, info: ModelVersionInfo, decision: Decision, before: int | None) -> None:
    """Write every rule's value and verdict to a version's tags."""
    tags = rule_tags(decision.rules) | {REASON: decision.reason}
    set_tags(client, info.name, info.version, tags | {CHAMPION_BEFORE: "" if before is None else str(before)})


def set_tags(client: MlflowClient, name: str, version: int, tags: dict[str, str]) -> None:
    """Set tags of a version."""
    for key, value in tags.items():
        client.set_model_version_tag(name, str(version), key, value)


def _set_alias(client: MlflowClient, name: str, version: int, before: int | None) -> None:
    found = by_alias(client, name, CHAMPION)
    present = int(found.version) if found is not None else None
    if present != before:
        raise RegistryError(
            f"the champion of '{name}' became version {present} while version {version} was compared with "
            f"{before}: something moves the alias without the registry's lock; run the command again"
        )
    client.set_registered_model_alias(name, CHAMPION, str(version))


def _history_before(client: MlflowClient, name: str, before: int | None) -> list[int]:
    stored = client.get_registered_model(name).tags.get(HISTORY)
    history: list[int] = json.loads(stored) if stored else _chain(client, name, by_alias(client, name, CHAMPION))
    return history if before is None or history[-1:] == [before] else [*history, before]


def _chain(client: MlflowClient, name: str, found: Any) -> list[int]:
    """The history of a registry that has none yet: from each champion to the one that it replaced."""
    history: list[int] = []
    while found is not None and int(found.version) not in history:
        history.append(int(found.version))
        before = found.tags.get(CHAMPION_BEFORE)
        try:
            found = client.get_model_version(name, before) if before else None
        except MlflowException:  # deleted
            found = None
    return history[::-1]


def _write_history(client: MlflowClient, name: str, history: list[int]) -> None:
    client.set_registered_model_tag(name, HISTORY, json.dumps(history))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
