"""A shard before it is listed: some contents' latents as the bytes of one Arrow file, with what its index entry says.

It is plain data, so that another process or machine may make it and send it to the one that writes the store.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import pyarrow as pa

from multimodal.latents.pace import Step, StepSeconds
from multimodal.latents.quantize import ErrorBound
from multimodal.latents.shards import LatentRows, shard_bytes
from multimodal.storage import Storage


@dataclass(frozen=True, slots=True)
class FinishedShard:
    """Latents of some contents, and the contents that have none.

    Args:
        data: the Arrow file; empty where no content could be encoded.
        count: contents in it.
        tokens: of all of them.
        digest: SHA-256 of `data`, 64 hex digits.
        error_bound: what storing them lost.
        failed: content id -> why it cannot be encoded.
        seconds: what it took, by `Step`; no part of what the shard is.
    """

    data: bytes = b""
    count: int = 0
    tokens: int = 0
    digest: str = ""
    error_bound: ErrorBound = field(default_factory=ErrorBound)
    failed: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)

    def finish(self) -> Self:
        """Itself: it may stand wherever a shard may that is only encoded."""
        return self

    def entry(self, name: str) -> dict[str, Any]:
        """What the index says of it once it is a file of that name."""
        facts = {"count": self.count, "digest": self.digest, "tokens": self.tokens}
        return {"name": name, **facts, "error_bound": asdict(self.error_bound)}


def finish_shard(
    parts: Sequence[LatentRows], storage: Storage, failed: Mapping[str, str], seconds: Mapping[str, float] | None = None
) -> FinishedShard:
    """The shard of some contents, in the order given."""
    started, spent = time.perf_counter(), StepSeconds(seconds or {})
    held = [part for part in parts if part.content_ids]
    if not held:
        return FinishedShard(failed=dict(failed), seconds=dict(spent))
    data = shard_bytes(held, storage)
    bound = ErrorBound.largest(part.states.error_bound for part in held)
    count, tokens = sum(len(part.content_ids) for part in held), sum(sum(part.lengths) for part in held)
    sha256 = hashlib.sha256(data).hexdigest()
    spent[Step.WRITE] += time.perf_counter() - started
    return FinishedShard(data, count, tokens, sha256, bound, dict(failed), dict(spent))


def merge_shards(shards: Sequence[FinishedShard]) -> FinishedShard:
    """One shard that holds what several of one store hold, in their order."""
    failed = {content_id: why for shard in shards for content_id, why in shard.failed.items()}
    seconds = dict(StepSeconds(*(shard.seconds for shard in shards)))
    held = [shard for shard in shards if shard.count]
    if not held:
        return FinishedShard(failed=failed, seconds=seconds)
    tables = [pa.ipc.open_file(pa.py_buffer(shard.data)).read_all() for shard in held]
    batch = pa.concat_tables(tables).combine_chunks().to_batches()[0]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as file:
        file.write_batch(batch)
    data = sink.getvalue().to_pybytes()
    bound = ErrorBound.largest(shard.error_bound for shard in held)
    count, tokens = sum(shard.count for shard in held), sum(shard.tokens for shard in held)
    return FinishedShard(data, count, tokens, hashlib.sha256(data).hexdigest(), bound, failed, seconds)
