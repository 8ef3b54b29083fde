"""Shards that fail: tried three times, then cut in halves until the contents that the encoder fails on are found."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

from multimodal.encoders.shard import Done, EncodedShard, ShardEncoder
from multimodal.errors import EncoderError
from multimodal.latents import FinishedShard, merge_shards
from multimodal.sample import Content

ATTEMPTS = 3
"""A shard is tried so often before its contents are suspected."""

EncodeShard = Callable[[Sequence[Content]], FinishedShard]
"""A shard function, here or elsewhere; raises where it fails."""


class Rescue:
    """Encodes shards that have failed before.

    Args:
        encode: the shard function.

    Attributes:
        sound: a content that this encoder has encoded, by which a broken encoder is told from bad contents.
    """

    def __init__(self, encode: EncodeShard) -> None:
        self._encode = encode
        self.sound: Content | None = None

    def __call__(self, contents: Sequence[Content], error: Exception, attempts: int = 1) -> FinishedShard:
        """The shard; contents that fail by themselves are among its `failed`.

        Args:
            error: of the last attempt.
            attempts: how often the shard has failed.

        Raises:
            EncoderError: everything fails: the encoder, or the machine, is to blame.
            OSError: everything fails, with this error: the stage may be tried again.
        """
        for _ in range(ATTEMPTS - attempts):
            try:
                return self._encode(contents)
            except Exception as again:
                error = again
        shard = merge_shards(list(self._bisect(contents, error)))
        if not shard.count and len(shard.failed) == len(contents) and not self._still_works():
            if isinstance(error, OSError):
                raise error
            what = f"{type(error).__name__}: {error}"
            raise EncoderError(
                f"the encoder fails on all of {len(contents)} contents, {ATTEMPTS} times: {what}"
            ) from error
        return shard

    def _bisect(self, contents: Sequence[Content], error: Exception) -> Iterator[FinishedShard]:
        if len(contents) == 1:
            problem = f"the encoder fails on it: {type(error).__name__}: {str(error)[:300]}"
            yield FinishedShard(failed={contents[0].content_id: problem})
            return
        middle = len(contents) // 2
        for half in (contents[:middle], contents[middle:]):
            try:
                yield self._encode(half)
            except Exception as again:
                yield from self._bisect(half, again)

    def _still_works(self) -> bool:
        if self.sound is None:
            return False
        try:
            return self._encode([self.sound]).count == 1
        except Exception:
            return False


def without_poison(
    encoder: ShardEncoder, shards: Iterable[Sequence[Content]], done: Done | None = None
) -> Iterator[EncodedShard | FinishedShard]:
    """`encoder.stream`, in which a shard that fails is rescued and the next ones go on."""
    rescue = Rescue(encoder)
    begun: deque[Sequence[Content]] = deque()
    rest = _Source(shards)
    while True:
        try:
            with closing(encoder.stream(_again_then_new(begun, rest), done)) as stream:
                for shard in stream:
                    contents = begun.popleft()
                    held = {content_id for part in shard.parts for content_id in part.content_ids}
                    rescue.sound = next((one for one in contents if one.content_id in held), rescue.sound)
                    yield shard
            return
        except Exception as error:
            if error is rest.error or not begun:
                raise
            failed = error
        yield rescue(begun.popleft(), failed)


class _Source:
    """Shards, and the error with which they end: it is not the encoder's."""

    def __init__(self, shards: Iterable[Sequence[Content]]) -> None:
        self._rest = filter(len, shards)
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Sequence[Content]]:
        try:
            yield from self._rest
        except Exception as error:
            self.error = error
            raise


def _again_then_new(begun: deque[Sequence[Content]], rest: _Source) -> Iterator[Sequence[Content]]:
    yield from list(begun)
    for contents in rest:
        begun.append(contents)
        yield contents
