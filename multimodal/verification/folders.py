"""Latents, checkpoints, packages and reports: their files against the digests that their indexes hold."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import safetensors

from multimodal.fingerprint import INDEX, file_digest
from multimodal.latents.shards import ARROW_TYPES
from multimodal.latents.writer import listing, storage_of
from multimodal.storage import Storage
from multimodal.verification.files import check_files, checked_index
from multimodal.verification.finding import Check


def check_latents(check: Check) -> None:
    """Hash every shard again; a shard's name holds the head of its digest, its index entry the whole."""
    index = checked_index(check)
    if index is None:
        return
    check.expect(INDEX, "encoder", index.get("encoder_fingerprint"), _named(check.path, index))
    for shard in index.get("shards", ()):
        name, path = str(shard["name"]), check.path / str(shard["name"])
        check.checked += 1
        if not path.is_file():
            check.differs(name, "is missing")
            continue
        data = path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        written = shard.get("digest") or path.stem.rpartition("-")[2]
        if not found.startswith(written):
            check.differs(name, f"SHA-256 {written[:16]}... written, {found[:16]}... found")
        else:
            _check_shard(check, index, shard, pa.ipc.open_file(pa.py_buffer(data)).get_batch(0))
    if "error_bound" in index:
        check.expect(INDEX, "error bound", index["error_bound"], listing(index["shards"])["error_bound"])
    known = {shard["name"] for shard in index.get("shards", ())}
    for path in sorted(path for path in check.path.glob("shard-*.arrow") if path.name not in known):
        check.notes.append(f"{path.name} was never finished, and is not read")


def _check_shard(check: Check, index: dict[str, Any], shard: dict[str, Any], batch: pa.RecordBatch) -> None:
    """What the index says of a shard; indexes from before there were storages say nothing of tokens."""
    name, states = str(shard["name"]), batch.column("hidden_states")
    storage = storage_of(index)
    check.expect(name, "contents", shard["count"], batch.num_rows)
    check.expect(name, f"values of {storage}", ARROW_TYPES[storage], states.type.value_type)
    if "tokens" in shard:
        check.expect(name, "tokens", shard["tokens"], len(states.values) // index["hidden_size"])
    if storage is Storage.INT8 and "scales" in batch.schema.names:
        check.expect(name, "scales", len(states.values) // index["hidden_size"], len(batch.column("scales").values))
    for content_id in sorted(set(batch.column("content_id").to_pylist()) & index.get("failed", {}).keys()):
        check.notes.append(f"{name} holds content {content_id}, which failed in another run")


def _named(path: Path, index: dict[str, object]) -> object:
    """The encoder that a store in a workspace is named after."""
    return path.name if path.parent.name == "latents" else index.get("encoder_fingerprint")


def check_checkpoint(check: Check, step: str = "") -> None:
    """Hash every file of a finished training again, or those of one of its steps (`step-...`)."""
    index = checked_index(check)
    if index is not None and not check_files(check, index, f"{step}/" if step else ""):
        _check_headers(check, step)


def check_package(check: Check) -> None:
    """Hash every file of a model package again."""
    index = checked_index(check)
    if index is not None:
        check_files(check, index)
        check.expect(INDEX, "sampler", index.get("parts", {}).get("sampler"), index.get("sampler"))


def check_report(check: Check) -> None:
    """Hash an evaluation's files again; report.html is left out, since the promotion gate writes on it."""
    index = checked_index(check)
    if index is not None:
        check_files(check, index, apart=("report.html",))


def check_stage(check: Check) -> None:
    """The record of a finished stage: its parts give its name."""
    checked_index(check)


def _check_headers(check: Check, step: str) -> None:
    """All that can be said of weights without a digest: whether the file's header and length go together."""
    for path in sorted((check.path / step).rglob("*.safetensors")):
        check.checked += 1
        name = path.relative_to(check.path).as_posix()
        try:
            with safetensors.safe_open(path, framework="np"):
                check.notes.append(f"{name} opens; its SHA-256 is {file_digest(path)[:16]}...")
        except (OSError, safetensors.SafetensorError) as error:
            check.differs(name, f"cannot be read: {error}")
