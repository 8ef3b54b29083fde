"""The encode stage for one modality: builds the encoder, settles what is to be measured, and fills the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from multimodal.dataset import Dataset
from multimodal.encoders import build_encoder
from multimodal.encoders.base import Encoder
from multimodal.encoders.encode import Progress, Runner, encode_dataset, missing_contents
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.shard import BATCHES_PER_WINDOW, ShardOptions
from multimodal.encoders.tuning import LARGEST_BATCH, compare_precisions, find_batch_size, is_worth_it
from multimodal.errors import MediaError
from multimodal.fingerprint import read_index
from multimodal.latents import LatentsInfo, LatentWriter
from multimodal.sample import Modality
from multimodal.storage import AUTO, Precision

PARITY_CONTENTS = 16
"""So many contents are encoded in both precisions."""

PARITY, BATCH_SIZE = "parity", "batch_size"
"""Keys of a store's index: bfloat16 beside float32, and the batch size that was found to be best."""

Samples = Callable[[int], Sequence[Tensor]]
"""Gives up to so many prepared contents."""


def encode_modality(
    dataset: Dataset,
    modality: Modality,
    options: EncoderOptions,
    latents: Path,
    progress: Progress | None = None,
    *,
    probe: int = 0,
    runner: Callable[[Encoder, ShardOptions], Runner] | None = None,
) -> LatentsInfo:
    """Make the latents of one modality of a dataset.

    Args:
        latents: folder of all stores; that of the encoder is named by its fingerprint.
        probe: so many stored contents are encoded again first.
        runner: makes who encodes the shards; None: this process.

    Raises:
        EncoderError: the encoder cannot be built, gives other latents than those stored, or fails on everything.
    """
    encoder = build_encoder(options, modality)

    def samples(count: int) -> Sequence[Tensor]:
        ids = missing_contents(dataset, modality, latents / encoder.fingerprint)[: 2 * count]
        return _prepared(dataset, modality, encoder, ids, count)

    facts = settle_precision(encoder, options, latents, samples)
    store = latents / encoder.fingerprint
    batch_size = settle_batch_size(encoder, options, store, samples)
    if options.batch_size == AUTO:
        facts[BATCH_SIZE] = batch_size
    if facts:
        with LatentWriter(store, encoder.fingerprint, encoder.hidden_size, storage=encoder.storage) as writer:
            writer.note(facts)
    shard_options = ShardOptions(batch_size, options.decode_workers, options.decode_in == "processes")
    return encode_dataset(
        dataset, modality, encoder, store, progress, options=shard_options, probe=probe,
        runner=runner(encoder, shard_options) if runner else None,
    )  # fmt: skip


def settle_precision(encoder: Encoder, options: EncoderOptions, latents: Path, samples: Samples) -> dict[str, Any]:
    """Choose the encoder's precision, where that is to be found out, and say how near bfloat16 is to float32.

    A workspace in which one of the two has been stored stays with it: a measurement that comes out otherwise on another
    day must not encode everything again.
    """
    if options.precision == AUTO:
        stored = [precision for precision in Precision if _is_stored(encoder, options, latents, precision)]
        if len(stored) == 1:
            encoder.keep(options.storage, stored[0])
            return {}
    elif encoder.precision is Precision.FLOAT32 or PARITY in (read_index(latents / encoder.fingerprint) or {}):
        return {}
    inputs = samples(PARITY_CONTENTS)
    if not inputs:
        return {}
    parity = compare_precisions(encoder, inputs)
    if options.precision == AUTO:
        encoder.keep(options.storage, Precision.BFLOAT16 if is_worth_it(parity) else Precision.FLOAT32)
    return {PARITY: parity.to_json()}


def settle_batch_size(encoder: Encoder, options: EncoderOptions, store: Path, samples: Samples) -> int:
    """The batch size of the options; `auto`: the one that the store was begun with, else the best by measurement."""
    if not isinstance(options.batch_size, str):
        return options.batch_size
    known = (read_index(store) or {}).get(BATCH_SIZE)
    if known is not None:
        return int(known)
    return find_batch_size(encoder, samples(LARGEST_BATCH)) if samples(1) else BATCHES_PER_WINDOW


def _is_stored(encoder: Encoder, options: EncoderOptions, latents: Path, precision: Precision) -> bool:
    encoder.keep(options.storage, precision)
    shards = (read_index(latents / encoder.fingerprint) or {}).get("shards")
    encoder.keep(options.storage, Precision.FLOAT32)
    return bool(shards)


def _prepared(dataset: Dataset, modality: Modality, encoder: Encoder, ids: Sequence[str], count: int) -> list[Tensor]:
    """Up to so many of these contents, longest last, without those that cannot be decoded."""
    preparation, found = encoder.preparation(), []
    for content in dataset.contents(ids, modality) if ids else ():
        try:
            found.append(preparation.transform(preparation.decode(content.data)))
        except MediaError:
            continue
        if len(found) == count:
            break
    return sorted(found, key=lambda inputs: inputs.numel())
