"""Encoding by workers: each builds the encoder for itself, reads its contents itself, and hands back finished shards.

Which contents make a shard, and which of them a batch, follows from the order in which the dataset holds them and is
settled before any worker is asked: the shards are those that one process writes, to the bit where the workers'
processors and versions of torch are those of that process. The process that asks alone writes to the store, so that a
worker that dies leaves nothing there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from multimodal.encoders import build_encoder
from multimodal.encoders.base import Encoder
from multimodal.encoders.encode import Runner, Shards, Spent
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.poison import Rescue
from multimodal.encoders.shard import Done, ShardEncoder, ShardOptions
from multimodal.errors import EncoderError
from multimodal.latents import FinishedShard
from multimodal.runners import RunnerOptions, run
from multimodal.sample import Content, Modality

MakeRunner = Callable[[Encoder, ShardOptions], Runner]


@dataclass(frozen=True, slots=True)
class ShardWork:
    """How a worker encodes shards.

    Args:
        options: of the encoder; a weights' path is absolute.
        modality: of the contents.
        fingerprint: that the worker's encoder must have.
        how: shards are encoded.
        threads: of torch.
    """

    options: EncoderOptions
    modality: Modality
    fingerprint: str
    how: ShardOptions
    threads: int

    def __call__(self) -> Callable[[Sequence[Content]], FinishedShard]:
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
        return rescued(ShardEncoder(encoder, self.how))


def rescued(encode: Callable[[Sequence[Content]], FinishedShard]) -> Callable[[Sequence[Content]], FinishedShard]:
    """The same shard function, in which contents that the encoder fails on are found and named."""
    rescue = Rescue(encode)

    def work(shard: Sequence[Content]) -> FinishedShard:
        contents = list(shard)  # read once, here
        try:
            made = encode(contents)
        except Exception as error:
            return rescue(contents, error)
        if made.count:
            rescue.sound = next(one for one in contents if one.content_id not in made.failed)
        return made

    return work


def distributed(runner: RunnerOptions, options: EncoderOptions) -> MakeRunner | None:
    """What makes the runner of `encode_dataset`; None where its own process is to encode.

    Args:
        runner: who does the work.
        options: of the encoder.
    """
    if runner.kind == "threads":
        return None

    def make(encoder: Encoder, how: ShardOptions) -> Runner:
        chosen = _everywhere(options).model_copy(update={"precision": str(encoder.precision)})
        work = ShardWork(chosen, encoder.modality, encoder.fingerprint, how, runner.torch_threads)
        return by_workers(runner, work)

    return make


def by_workers(runner: RunnerOptions, make: Callable[[], Callable[[Sequence[Content]], FinishedShard]]) -> Runner:
    """The runner of `encode_dataset` in which workers made by `make` encode the shards, in any order."""

    def encode(shards: Iterator[Sequence[Content]], done: Done, spent: Spent) -> Shards:
        spent.encoders = runner.workers
        for _, shard in run(runner, make, list(shards)):
            done(shard.count + len(shard.failed))
            yield shard

    return encode


def _everywhere(options: EncoderOptions) -> EncoderOptions:
    """With absolute paths: a worker has a working directory of its own."""
    names = {name: getattr(options, name) for name in ("model", "weights")}
    local = {name: str(Path(value).resolve()) for name, value in names.items() if value and Path(value).exists()}
    return options.model_copy(update=local)
