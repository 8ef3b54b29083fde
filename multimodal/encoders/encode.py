"""Contents of one modality that a latent store lacks go through the encoder, shard by shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from multimodal.dataset import Dataset
from multimodal.encoders.base import Encoder
from multimodal.encoders.poison import without_poison
from multimodal.encoders.probe import draw, probe_store
from multimodal.encoders.shard import Done, EncodedShard, ShardEncoder, ShardOptions
from multimodal.fingerprint import read_index
from multimodal.latents import CONTENTS_PER_SHARD, FinishedShard, LatentsInfo, LatentStore, LatentWriter, Pace
from multimodal.latents.pace import Step, StepSeconds
from multimodal.sample import Content, Modality
from multimodal.stored_contents import stored_contents

Progress = Callable[[int, int], None]

Shards = Iterable[EncodedShard | FinishedShard]


@dataclass(slots=True)
class Spent:
    """What an encode took so far, filled by whoever encodes and writes.

    Args:
        steps: seconds by `Step`.
        batch_size: of the last batch.
        decoders, encoders: that worked side by side.
        written: contents of the shards that are in the store.
        writing: the shard that is being written.
    """

    steps: StepSeconds = field(default_factory=StepSeconds)
    batch_size: int = 0
    decoders: int = 1
    encoders: int = 1
    written: int = 0
    writing: Future[None] | None = None


Runner = Callable[[Iterator[Sequence[Content]], Done, Spent], Shards]
"""Turns the contents of shards into shards, here or elsewhere; says how many contents are done, and with what."""


def missing_contents(dataset: Dataset, modality: Modality, store_path: Path) -> list[str]:
    """Contents of a dataset that a store neither holds nor is known to fail on; needs no encoder."""
    wanted = dataset.content_ids(modality)
    return wanted if read_index(store_path) is None else _lacking(wanted, LatentStore(store_path))


def encode_dataset(
    dataset: Dataset,
    modality: Modality,
    encoder: Encoder,
    store_path: Path,
    progress: Progress | None = None,
    *,
    batch_size: int = 64,
    contents_per_shard: int = CONTENTS_PER_SHARD,
    options: ShardOptions | None = None,
    probe: int = 0,
    runner: Runner | None = None,
) -> LatentsInfo:
    """Encode the contents of one modality that the store lacks.

    A killed run goes on from its last written shard: what it has to do again is at most one finished shard, which was
    being written, and what it had begun of the next. A content that cannot be decoded or encoded is noted as failed.

    Args:
        progress: called with (contents done, contents that were missing).
        batch_size: contents encoded at once, where `options` says nothing.
        options: how shards are encoded.
        probe: so many contents that the store holds are encoded again first, and compared.
        runner: who encodes the shards; None: this process.

    Raises:
        DatasetError: the store at the path was made by another encoder.
        EncoderError: the encoder gives other latents than those stored, or fails on everything.
        RunnerError: the runner's workers died again and again.
    """
    options = options or ShardOptions(batch_size)
    wanted = dataset.content_ids(modality)
    spent, started = Spent(batch_size=options.batch_size), time.perf_counter()
    with LatentWriter(
        store_path, encoder.fingerprint, encoder.hidden_size, storage=encoder.storage, card=encoder.card.to_json()
    ) as writer:
        # Opened while the store is held: `latents gc` must not remove what was just found to be there.
        store = LatentStore(store_path)
        missing, done = _lacking(wanted, store), 0
        if probe and len(store):
            stored = [content_id for content_id in wanted if content_id in store]
            probe_store(store, dataset, encoder, draw(stored, probe, dataset.path.name))

        def count(contents: int) -> None:
            nonlocal done
            done += contents
            if progress is not None:
                progress(done, len(missing))
            # The next batch might finish a second shard beside the one that is being written.
            if spent.writing is not None and done - spent.written + spent.batch_size >= 2 * contents_per_shard:
                spent.writing.result()

        if missing:
            run = runner or in_this_process(encoder, options)
            if runner is None:
                shards = shards_of(dataset.contents(missing, modality), contents_per_shard)
            else:  # the same ones, read by whoever encodes them
                shards = stored_contents(dataset, missing, modality, contents_per_shard)
            write_behind(run(shards, count, spent), writer, spent)
            store = LatentStore(store_path)
    seconds = time.perf_counter() - started
    pace = Pace(len(missing), seconds, dict(spent.steps), spent.decoders, spent.encoders, spent.batch_size)
    failed = tuple(content_id for content_id in wanted if content_id in store.failed)
    held = sum(content_id in store for content_id in wanted)
    return LatentsInfo(
        modality, store_path, store.encoder_fingerprint, store.hidden_size, held, failed, len(missing),
        pace if missing else None, encoder.precision,
    )  # fmt: skip


def in_this_process(encoder: Encoder, options: ShardOptions) -> Runner:
    """Shards one after the other, the next being prepared meanwhile; one that fails is rescued."""

    def run(shards: Iterator[Sequence[Content]], done: Done, spent: Spent) -> Shards:
        with ShardEncoder(encoder, options) as shard_encoder:
            spent.decoders = options.workers
            yield from without_poison(shard_encoder, shards, done)
            spent.batch_size = shard_encoder.batch_size

    return run


def shards_of(contents: Iterable[Content], size: int) -> Iterator[Sequence[Content]]:
    """Contents in order, so many at a time."""
    rest = iter(contents)
    while part := list(islice(rest, size)):
        yield part


def write_behind(shards: Shards, writer: LatentWriter, spent: Spent | None = None) -> None:
    """Write shards while the next is encoded; at most one that is finished waits to be in the store."""
    spent = spent or Spent()
    with ThreadPoolExecutor(1, thread_name_prefix="write") as pool:
        for shard in shards:
            if spent.writing is not None:
                spent.writing.result()
            spent.writing = pool.submit(_write, shard, writer, spent)
    if spent.writing is not None:
        spent.writing.result()


def _write(shard: EncodedShard | FinishedShard, writer: LatentWriter, spent: Spent) -> None:
    finished, started = shard.finish(), time.perf_counter()
    writer.add_shard(finished)
    spent.written += finished.count + len(finished.failed)
    spent.steps.add(finished.seconds)
    spent.steps[Step.WRITE] += time.perf_counter() - started


def _lacking(wanted: Sequence[str], store: LatentStore) -> list[str]:
    return [content_id for content_id in wanted if content_id not in store and content_id not in store.failed]
