"""Which encoders hold the latents of a content, and how large they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from multimodal.errors import DatasetError
from multimodal.fingerprint import INDEX, read_index
from multimodal.latents import LatentStore


@dataclass(frozen=True, slots=True)
class StoredLatents:
    """One content in one store.

    Args:
        content_id: of the content.
        encoder: fingerprint of the encoder.
        named: modality, kind and model, as the encode stage noted them; "" where it noted nothing.
        tokens, hidden_size: shape of the hidden states.
        num_bytes: of hidden states and pooled vector, as they are stored.
        reading: the text that the encoder itself reads off the content.
        problem: why the encoder has none, "" where it has.
    """

    content_id: str
    encoder: str
    named: str
    tokens: int = 0
    hidden_size: int = 0
    num_bytes: int = 0
    reading: str = ""
    problem: str = ""


def stored_latents(workspace: Path, content_id: str) -> Iterator[StoredLatents]:
    """The stores of a workspace that hold a content, or that know that it cannot be encoded."""
    names = encoder_names(workspace)
    for folder in sorted(index.parent for index in workspace.glob(f"latents/*/{INDEX}")):
        named = names.get(folder.name, "")
        try:
            store = LatentStore(folder)
        except DatasetError as error:
            yield StoredLatents(content_id, folder.name, named, problem=str(error))
            continue
        if content_id in store:
            yield StoredLatents(
                content_id, store.encoder_fingerprint, named, len(store.tensor(content_id)), store.hidden_size,
                store.num_bytes(content_id), store.reading(content_id),
            )  # fmt: skip
        elif content_id in store.failed:
            problem = f"cannot be encoded: {store.failed[content_id]}"
            yield StoredLatents(content_id, store.encoder_fingerprint, named, problem=problem)


def encoder_names(workspace: Path) -> dict[str, str]:
    """Fingerprint -> what an encoder is, from the records of the encode stages."""
    names = {}
    for index in sorted(workspace.glob(f"stages/*/encode/*/{INDEX}")):
        values = read_index(index.parent) or {}
        options = values.get("parts", {}).get("encoders", {})
        for info in values.get("record", {}).get("latents", ()):
            own = options.get(info["modality"], {})
            parts = (info["modality"], own.get("kind"), own.get("model"))
            names[str(info["encoder_fingerprint"])] = " ".join(part for part in parts if part)
    return names
