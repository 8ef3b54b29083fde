"""The drift probe: before stored latents are used again, some of their contents are encoded again and compared."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch

from multimodal.dataset import Dataset
from multimodal.encoders.base import Encoder
from multimodal.encoders.shard import TOLERANCE, encode_batch
from multimodal.errors import EncoderError, MediaError
from multimodal.latents import LatentStore


def probe_store(store: LatentStore, dataset: Dataset, encoder: Encoder, content_ids: Sequence[str]) -> None:
    """Encode some stored contents again, and hold them against what is stored.

    Args:
        dataset: holds the bytes of the contents.
        content_ids: stored contents, as `draw` has chosen them.

    Raises:
        EncoderError: the encoder gives other latents than those that are stored under its fingerprint.
    """
    tolerance = drift_tolerance(store, encoder)
    for content in dataset.contents(content_ids, encoder.modality) if content_ids else ():
        try:
            apart = distance(store, encoder, content.content_id, content.data)
        except MediaError as error:
            raise _drifted(store, content.content_id, f"it cannot be decoded any more ({error})") from error
        if not apart <= tolerance:
            what = f"its states differ by {apart:.1%} of their norm, at most {tolerance:.1%} is rounding"
            raise _drifted(store, content.content_id, what)


def draw(content_ids: Sequence[str], count: int, seed: str) -> list[str]:
    """Some contents at random, by a seed."""
    return random.Random(seed).sample(list(content_ids), min(count, len(content_ids)))


def distance(store: LatentStore, encoder: Encoder, content_id: str, data: bytes) -> float:
    """L2 norm of (encoded now - stored) over that of the stored states; infinite where their shapes differ."""
    rows, failed = encode_batch([(content_id, encoder.preprocess(data))], encoder)
    stored = torch.from_numpy(np.array(store.get(content_id), dtype=np.float32))
    if failed or rows.states.codes.shape != stored.shape:
        return float("inf")
    now = rows.states.states()
    return float((now - stored).norm() / stored.norm().clamp(min=1e-12))


def drift_tolerance(store: LatentStore, encoder: Encoder) -> float:
    """What other batches and the storage's rounding explain."""
    bound = store.error_bound.relative_l2 if store.error_bound else 0.0
    return TOLERANCE[encoder.precision] + 2 * min(bound, 0.1)


def _drifted(store: LatentStore, content_id: str, what: str) -> EncoderError:
    return EncoderError(
        f"the encoder {store.encoder_fingerprint} has changed behind its fingerprint: of content {content_id}, {what}. "
        f"Another version of a library or another machine may be why; go back to it, or delete {store.path} and encode "
        "again"
    )
