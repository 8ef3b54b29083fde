"""One writer of a registry at a time, whichever process, workspace or machine it runs on."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from multimodal.errors import RegistryError
from multimodal.tracking import file_lock

LOCK, LEASE = "registry.lock", "lock"

SETTLE_SECONDS = 1.0
"""Longer than a write to a registry server takes: Fischer's condition."""

LEASE_SECONDS = 600.0
"""After this, a lease is taken for one that a dead process left: registering takes seconds."""


@contextmanager
def registry_lock(client: MlflowClient, workspace: Path, name: str) -> Iterator[None]:
    """Hold the registry of one model for the block.

    A SQLite registry is held by a file lock beside the database, so that all workspaces and processes that write to it
    wait for each other. Any other registry is held by a lease too: a tag of the registered model, which is created if
    it is not there.

    Raises:
        RegistryError: another holds the lease for longer than `LEASE_SECONDS`.
    """
    uri = client.tracking_uri
    local = uri.startswith("sqlite:///")
    folder = Path(uri.removeprefix("sqlite:///").partition("?")[0]).parent if local else workspace
    with file_lock(folder / LOCK):
        create_registered_model(client, name)
        if local:
            yield
        else:
            with lease(client, name):
                yield


@contextmanager
def lease(
    client: MlflowClient, name: str, settle: float = SETTLE_SECONDS, lasts: float = LEASE_SECONDS
) -> Iterator[None]:
    """Hold a model by a tag: mutual exclusion where there are only reads and writes (Fischer; Lamport 1987, alg. 2).

    Whoever finds the tag free writes its own token, waits until every other write that began before must have ended,
    and holds the model if the token is still there.

    Args:
        client: of the registry.
        name: a registered model.
        settle: seconds, longer than a write takes.
        lasts: seconds after which a lease no longer counts.

    Raises:
        RegistryError: the lease was held by others all the time.
    """
    token = uuid.uuid4().hex
    deadline = time.monotonic() + 2 * lasts
    while True:
        holder, since = _holder(client, name)
        if not holder or time.time() - since > lasts:
            with suppress(MlflowException):  # another wrote the tag's row at the same moment: it has the turn
                client.set_registered_model_tag(name, LEASE, f"{token} {time.time():.3f}")
            time.sleep(settle)
            if _holder(client, name)[0] == token:
                break
        if time.monotonic() > deadline:
            raise RegistryError(
                f"the registry of '{name}' is held by another process: wait, or delete the model's tag '{LEASE}'"
            )
        time.sleep(settle / 4)
    try:
        yield
    finally:
        if _holder(client, name)[0] == token:
            client.set_registered_model_tag(name, LEASE, "")


def create_registered_model(client: MlflowClient, name: str) -> None:
    """Create a registered model if it is not there."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _holder(client: MlflowClient, name: str) -> tuple[str, float]:
    token, _, since = client.get_registered_model(name).tags.get(LEASE, "").partition(" ")
    return token, float(since or 0)
