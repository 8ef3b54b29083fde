"""Encoding by workers: each builds the encoder for itself, reads its contents itself, and hands back finished shards.

Which contents make a shard, and which of them a batch, follows from the order in which the dataset holds them and is
settled before any worker is asked: the shards are those that one process writes, to the bit where the workers'
processors and versions of torch are those of that process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from multimodal.encoders import build_encoder
from multimodal.encoders.base import Encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.shard import ShardEncoder
from multimodal.errors import EncoderError
from multimodal.latents import FinishedShard
from multimodal.runners import RunnerOptions, run
from multimodal.sample import Modality
from multimodal.stored_contents import StoredContents

EncodeShards = Callable[[Iterable[StoredContents]], Iterator[FinishedShard]]
"""Encodes shards somewhere, and gives them back in any order."""


@dataclass(frozen=True, slots=True)
class ShardWork:
    """How a worker encodes shards.

    Args:
        options: of the encoder; a weights' path is absolute.
        modality: of the contents.
        fingerprint: that the worker's encoder must have.
        threads: of torch.
    """

    options: EncoderOptions
    modality: Modality
    fingerprint: str
    threads: int

    def __call__(self) -> Callable[[StoredContents], FinishedShard]:
        """Build the encoder, in the worker.

        Raises:
            EncoderError: it cannot be built there, or is another one.
        """
        torch.set_num_threads(self.threads)
        encoder = build_encoder(self.options, self.modality)
        if encoder.fingerprint != self.fingerprint:
            raise EncoderError(
                f"a worker's {self.modality} encoder is {encoder.fingerprint}, the run's is {self.fingerprint}: every "
                "machine must see the same weights and have the same versions of the libraries"
            )
        encode = ShardEncoder(encoder, batch_size=self.options.batch_size)
        return lambda contents: encode(contents.read())


def distributed(runner: RunnerOptions, options: EncoderOptions, encoder: Encoder) -> EncodeShards | None:
    """What encodes the shards of a dataset as the runner says; None where this process is to do it.

    Args:
        runner: who does the work.
        options: that `encoder` was built from.
        encoder: of this process.
    """
    if runner.kind == "threads":
        return None
    threads = runner.threads or torch.get_num_threads()
    work = ShardWork(_everywhere(options), encoder.modality, encoder.fingerprint, threads)

    def encode(shards: Iterable[StoredContents]) -> Iterator[FinishedShard]:
        for _, shard in run(runner, work, list(shards)):
            yield shard

    return encode


def _everywhere(options: EncoderOptions) -> EncoderOptions:
    """With absolute paths: a worker has a working directory of its own."""
    names = {name: getattr(options, name) for name in ("model", "weights")}
    local = {name: str(Path(value).resolve()) for name, value in names.items() if value and Path(value).exists()}
    return options.model_copy(update=local)
