"""The encode stage for one modality: contents that the latent store lacks go through the encoder, shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from multimodal.dataset import Dataset
from multimodal.encoders.base import Encoder
from multimodal.encoders.distributed import EncodeShards
from multimodal.encoders.shard import ShardEncoder
from multimodal.fingerprint import read_index
from multimodal.latents import CONTENTS_PER_SHARD, FinishedShard, LatentsInfo, LatentStore, LatentWriter
from multimodal.sample import Content, Modality
from multimodal.stored_contents import stored_contents

Progress = Callable[[int, int], None]


def missing_contents(dataset: Dataset, modality: Modality, store_path: Path) -> list[str]:
    """Contents of a dataset that a store neither holds nor is known to fail on; needs no encoder."""
    wanted = dataset.content_ids(modality)
    if read_index(store_path) is None:
        return wanted
    store = LatentStore(store_path)
    return [content_id for content_id in wanted if content_id not in store and content_id not in store.failed]


def encode_dataset(
    dataset: Dataset,
    modality: Modality,
    encoder: Encoder,
    store_path: Path,
    progress: Progress | None = None,
    *,
    batch_size: int = 64,
    contents_per_shard: int = CONTENTS_PER_SHARD,
    elsewhere: EncodeShards | None = None,
) -> LatentsInfo:
    """Encode the contents of one modality that the store lacks.

    A killed run goes on from its last finished shard. A content that cannot be preprocessed is noted as failed.

    Args:
        progress: called with (contents done, contents that were missing).
        elsewhere: encodes the shards instead of this process, see `multimodal.encoders.distributed`; a worker that is
            killed leaves nothing in the store, since this process alone writes to it.

    Raises:
        DatasetError: the store at the path was made by another encoder.
        RunnerError: the workers died again and again.
    """
    writer = LatentWriter(store_path, encoder.fingerprint, encoder.hidden_size, storage=encoder.storage)
    with writer:
        # Asked while the store is held: `latents gc` must not remove what was just found to be there.
        missing, done = missing_contents(dataset, modality, store_path), 0

        def count(contents: int) -> None:
            nonlocal done
            done += contents
            if progress is not None:
                progress(done, len(missing))

        if elsewhere is not None:
            finished = elsewhere(stored_contents(dataset, missing, modality, contents_per_shard))
            write_behind(_counted(finished, count), writer)
            return _info(dataset, modality, store_path, len(missing))
        contents = dataset.contents(missing, modality) if missing else iter(())
        with ShardEncoder(encoder, batch_size=batch_size) as shard_encoder:
            write_behind(shard_encoder.stream(shards_of(contents, contents_per_shard), count), writer)
    return _info(dataset, modality, store_path, len(missing))


def shards_of(contents: Iterable[Content], size: int) -> Iterator[Sequence[Content]]:
    """Contents in order, so many at a time."""
    rest = iter(contents)
    while part := list(islice(rest, size)):
        yield part


def write_behind(shards: Iterable[FinishedShard], writer: LatentWriter) -> None:
    """Write shards while the next is encoded.

    No shard is finished before the one before it is in the store: what a killed run has to do again is at most one
    finished shard, beside the one that it was at.
    """
    writing: Future[None] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="write") as pool:
        for shard in shards:
            if writing is not None:
                writing.result()
            writing = pool.submit(writer.add_shard, shard)
    if writing is not None:
        writing.result()


def _counted(shards: Iterable[FinishedShard], count: Callable[[int], None]) -> Iterator[FinishedShard]:
    for shard in shards:
        count(shard.count + len(shard.failed))
        yield shard


def _info(dataset: Dataset, modality: Modality, store_path: Path, encoded: int) -> LatentsInfo:
    store, wanted = LatentStore(store_path), dataset.content_ids(modality)
    failed = tuple(content_id for content_id in wanted if content_id in store.failed)
    count = sum(content_id in store for content_id in wanted)
    return LatentsInfo(modality, store_path, store.encoder_fingerprint, store.hidden_size, count, failed, encoded)
