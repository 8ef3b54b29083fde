"""An encoder for tests that run in several processes: importable there, and slow or deadly on request."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from multimodal.encoders.base import Encoder, EncoderOutput
from multimodal.encoders.distributed import rescued
from multimodal.encoders.shard import ShardEncoder, ShardOptions
from multimodal.errors import MediaError
from multimodal.sample import Modality


class ByteEncoder(Encoder):
    """A real if small network over bytes: its rounding depends on batch and order as that of any other. Texts with `!`
    cannot be read, and the text `poison` breaks it."""

    modality, hidden_size, pooled_size, fingerprint = Modality.TEXT, 8, 8, "byte-encoder"

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.table = torch.randn(256, 64, generator=generator)
        self.out = torch.randn(64, 8, generator=generator)

    def preprocess(self, data):
        if b"!" in data:
            raise MediaError("unreadable", "it shouts")
        return torch.tensor(list(data))

    def encode(self, batch):
        if any(bytes(row.tolist()) == b"poison" for row in batch):
            raise ZeroDivisionError("division of poison")
        padded = torch.nn.utils.rnn.pad_sequence(list(batch), batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in batch], batch_first=True) > 0
        states = torch.softmax(self.table[padded], -1) @ self.out
        return EncoderOutput(states, mask, states.mean(1))

    def save(self, folder):
        raise NotImplementedError


def _node() -> str:
    """Of the cluster, that this process is on."""
    ray = sys.modules.get("ray")
    return ray.get_runtime_context().get_node_id() if ray and ray.is_initialized() else "here"


@dataclass(frozen=True)
class ByteWork:
    """What `ShardWork` is for real encoders. Notes in `seen` which shard was begun on which node by which process,
    waits, and dies once at the first shard that holds `deadly`."""

    seen: Path
    seconds: float = 0.0
    deadly: bytes = b""

    def __call__(self):
        torch.set_num_threads(1)
        encode = rescued(ShardEncoder(ByteEncoder(), ShardOptions(8)))

        def work(contents):
            (self.seen / f"{contents.content_ids[0]}-{_node()}-{os.getpid()}").touch()
            time.sleep(self.seconds)
            dead = self.seen / "dead"
            if self.deadly and any(self.deadly in one.data for one in contents.texts) and not dead.exists():
                dead.touch()
                os._exit(9)
            return encode(contents)

        return work
