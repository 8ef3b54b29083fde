"""Registered encoders: towers that were trained or adapted, each a registered model of its own.

What a version's tags hold beyond those of decoders' versions (`multimodal.registry`):

    encoder.modality, encoder.kind   what it encodes, and which family it is of
    encoder.fingerprint              of the encoder by the options it was trained with: the key of its latents
    encoder.start                    fingerprint of the encoder that it started from, "" where from scratch
    weights.sha256                   of all files of its folder
    score                            name of the score on the val split by which a champion is kept

The newest version is `challenger`. It becomes `champion` where there is none, or where its score on the same dataset's
val split is at least the champion's.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from multimodal.encoder_serving import log_encoder
from multimodal.encoders import build_encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.errors import CheckpointError, RegistryError
from multimodal.fingerprint import digest, file_digests, new_folder
from multimodal.registry.champions import move_alias, set_tags
from multimodal.registry.locks import registry_lock
from multimodal.registry.versions import (
    CHALLENGER,
    CHAMPION,
    CHAMPION_BEFORE,
    FINGERPRINT,
    PROMOTED,
    REASON,
    VAL_SCORE,
    ModelVersionInfo,
    by_alias,
    find_version,
    info_of,
    parse_uri,
    quiet_tracking_at,
    the_version,
)
from multimodal.sample import Modality
from multimodal.tracking import tracking_client

MODALITY, KIND, ENCODER_FINGERPRINT = "encoder.modality", "encoder.kind", "encoder.fingerprint"
WEIGHTS, SCORE, DATASET = "weights.sha256", "score", "dataset.fingerprint"


def weights_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of all files of an encoder's folder, 64 hex digits."""
    return digest(file_digests(folder))


def register_encoder(
    workspace: Path,
    name: str,
    folder: Path,
    options: EncoderOptions,
    modality: Modality,
    run_id: str,
    *,
    score: tuple[str, float] | None = None,
    promote: bool = True,
    tags: Mapping[str, str] | None = None,
) -> ModelVersionInfo:
    """Log an encoder's folder as a model of a run and register it as the next version; one that is registered already
    is returned as it is.

    Args:
        workspace: holds the tracking database, unless `MLFLOW_TRACKING_URI` names another.
        name: the registered model.
        folder: as `Encoder.save` writes it.
        options: that it was trained with.
        modality: what it encodes.
        run_id: run that holds the training's metrics.
        score: name and value on the val split, more is better; None where nothing could be scored.
        promote: whether it may become champion.
        tags: further ones, `dataset.fingerprint` among them.

    Raises:
        EncoderError: the folder does not load; nothing is registered then.
    """
    client = tracking_client(workspace)
    loaded = build_encoder(options.model_copy(update={"weights": str(folder), "device": "cpu"}), modality)
    sha256 = weights_digest(folder)
    with registry_lock(client, workspace, name):
        known = find_version(workspace, name, sha256[:16])
        if known is not None:
            return known
        facts = {
            FINGERPRINT: sha256[:16],
            WEIGHTS: sha256,
            MODALITY: str(modality),
            KIND: options.kind,
            ENCODER_FINGERPRINT: loaded.fingerprint,
            SCORE: score[0] if score else "",
            VAL_SCORE: repr(float(score[1])) if score else "nan",
        }
        with quiet_tracking_at(client.tracking_uri):
            uri = log_encoder(client, folder, options, modality, run_id)
            all_tags = {**(tags or {}), **facts}
            version = client.create_model_version(name, uri, run_id, all_tags, model_id=Path(uri).name).version
        client.set_registered_model_alias(name, CHALLENGER, version)
        _judge(client, name, int(version), promote)
        return info_of(client.get_model_version(name, str(version)))


def fetch_encoder(workspace: Path, uri: str) -> tuple[Path, ModelVersionInfo]:
    """The folder of a registered encoder, `models:/name/3` or `models:/name@champion`: where it is, if the registry's
    files are on this machine, else a copy in `workspace/models/<fingerprint>`; and its version.

    Raises:
        RegistryError: there is no such version, it is no encoder, or its files cannot be fetched.
        CheckpointError: its files are not those that were registered.
    """
    name, which = parse_uri(uri)
    info = the_version(workspace, name, which)
    client = tracking_client(workspace)
    tags = client.get_model_version(info.name, str(info.version)).tags
    if MODALITY not in tags:
        raise RegistryError(f"{info.uri} is a whole model, no encoder; `multimodal pretrain CONF` registers encoders")
    if not client.tracking_uri.startswith("http"):
        return _checked(_download(client.tracking_uri, info, None), tags, info), info
    copy = workspace / "models" / info.fingerprint
    if not (copy.is_dir() and weights_digest(copy) == tags.get(WEIGHTS)):
        with TemporaryDirectory() as downloads, new_folder(copy) as new:
            found = _checked(_download(client.tracking_uri, info, Path(downloads)), tags, info)
            shutil.copytree(found, new, dirs_exist_ok=True)
    return copy, info


def modality_of(workspace: Path, info: ModelVersionInfo) -> Modality | None:
    """What a version encodes; None where it is a whole model."""
    found = tracking_client(workspace).get_model_version(info.name, str(info.version)).tags.get(MODALITY)
    return Modality(found) if found else None


def _download(uri: str, info: ModelVersionInfo, downloads: Path | None) -> Path:
    try:
        with quiet_tracking_at(uri):
            target = str(downloads) if downloads else None  # local files are read where they are
            folder = Path(download_artifacts(artifact_uri=info.uri, dst_path=target, tracking_uri=uri))
    except (MlflowException, OSError) as error:
        raise RegistryError(f"the files of {info.uri} cannot be fetched from {uri}: {error}") from error
    found = [path for path in (folder / "artifacts").glob("*") if path.is_dir()]
    if len(found) != 1:
        raise RegistryError(f"the files of {info.uri} are gone from {folder}; register the encoder again")
    return found[0]


def _checked(folder: Path, tags: Mapping[str, str], info: ModelVersionInfo) -> Path:
    if weights_digest(folder) != tags.get(WEIGHTS):
        raise CheckpointError(
            f"{folder} does not hold what was registered as {info.uri} (SHA-256 {tags.get(WEIGHTS, '')[:16]}...): "
            "restore the files, or name another version"
        )
    return folder


def _judge(client: MlflowClient, name: str, version: int, promote: bool) -> None:
    """Make a version champion where nothing speaks against it, and write down why (not)."""
    own = client.get_model_version(name, str(version)).tags
    champion = by_alias(client, name, CHAMPION)
    before = int(champion.version) if champion is not None else None
    better, reason = _verdict(own, champion.tags if champion is not None else None)
    if not promote:
        better, reason = False, "registry.promote is false"
    if better:
        move_alias(client, name, version, before, reason)
    verdict = {PROMOTED: str(better).lower(), REASON: reason}
    set_tags(client, name, version, verdict | {CHAMPION_BEFORE: "" if before is None else str(before)})


def _verdict(own: Mapping[str, str], champion: Mapping[str, str] | None) -> tuple[bool, str]:
    if champion is None:
        return True, "no champion to compare with"
    if (own.get(SCORE), own.get(DATASET)) != (champion.get(SCORE), champion.get(DATASET)) or not own.get(SCORE):
        return False, "not scored as the champion was, on the same dataset: promote it by hand"
    score, best = float(own[VAL_SCORE]), float(champion[VAL_SCORE])
    if math.isnan(best) or score >= best:
        return True, f"{own[SCORE]} {score:.4f} on val, the champion's is {best:.4f}"
    return False, f"{own[SCORE]} {score:.4f} on val is below the champion's {best:.4f}"
