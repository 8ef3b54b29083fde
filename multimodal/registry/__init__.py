"""Registered models: versions with their scores, and the aliases that say which one is in use.

Every new version gets the alias `challenger`; it gets `champion` when it passes the gate (`multimodal.promotion`).
What a version's tags hold, all as text:

    val_score               the sampled score on the val split
    fingerprint             of the model package; registering the same package again returns its version
    package.sha256          of the package's index, which holds the digests of its files
    dataset.fingerprint     and further fingerprints of what the version was made from
    test/caption/cider_d    every score of the report, with its controls as in `multimodal.tracking`
    gate.<rule>             passed or failed; `.value`, `.limit` and `.text` say what was found
    promoted, reason        whether it became champion when it was registered, and why (not)
    champion_before         the version that it was judged against, "" if there was none
    champion.since, .until  when it became champion, and when another did; `champion.note` says why
    prefect.flow_run_id     the flow run that made it

The registered model's tag `champion.history` lists the versions that were champion and may be again, newest last.
Encoders that `multimodal pretrain` registers have tags of their own, see `multimodal.registry.encoders`.
The run that registered a version holds its evaluation and its facts as artifacts, under `evaluation/`.
"""

from __future__ import annotations

from multimodal.registry.champions import champion_history, promote_version, rollback
from multimodal.registry.encoders import fetch_encoder, modality_of, register_encoder, weights_digest
from multimodal.registry.evaluations import evidence_of, facts_of
from multimodal.registry.hygiene import removable_versions, remove_versions, version_bytes
from multimodal.registry.loading import fetch_package, load_champion, load_version
from multimodal.registry.registering import register_model
from multimodal.registry.versions import (
    CHALLENGER,
    CHAMPION,
    ModelVersionInfo,
    champion,
    describe_version,
    description_of,
    find_version,
    list_versions,
    registered_names,
    tags_of,
    the_version,
)

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "ModelVersionInfo",
    "champion",
    "champion_history",
    "describe_version",
    "description_of",
    "evidence_of",
    "facts_of",
    "fetch_encoder",
    "fetch_package",
    "find_version",
    "list_versions",
    "load_champion",
    "load_version",
    "modality_of",
    "promote_version",
    "register_encoder",
    "register_model",
    "registered_names",
    "removable_versions",
    "remove_versions",
    "rollback",
    "tags_of",
    "the_version",
    "version_bytes",
    "weights_digest",
]
