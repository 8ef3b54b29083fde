"""The latent store: hidden states of contents, keyed by content id, in append-only Arrow shards read by memory map.

    latents/<encoder fp>/shard-00000-<digest>.arrow    one record batch: content_id, hidden_states (ragged), pooled,
                                                       reading (the text that the encoder itself reads, "" if none)
    latents/<encoder fp>/index.json                    the finished shards, the contents that cannot be encoded, and
                                                       what the encoder states: widths, tokens, hashes

Hidden states of all rows of a shard lie in one flat array with offsets, so that a row is a slice of the memory map:
float16, bfloat16 (a column of uint16, since Arrow has no such type), or int8 with a further column `scales`, one
float32 per token. A shard that the index does not name was never finished, and is not read.

    quantize   hidden states to what is stored and back, and what that loses
    shards     one Arrow file, written and memory-mapped
    pace       how fast contents were encoded, and what held them up
    finished   a shard before it is listed, as plain data that other processes may make
    locks      who writes to a store
    writer     appends to a store
    store      reads it
"""

from multimodal.latents.finished import FinishedShard, merge_shards
from multimodal.latents.pace import Pace
from multimodal.latents.quantize import ErrorBound
from multimodal.latents.store import LatentsInfo, LatentStore, is_encoded, read_card
from multimodal.latents.writer import CONTENTS_PER_SHARD, LatentWriter

__all__ = [
    "CONTENTS_PER_SHARD",
    "ErrorBound",
    "FinishedShard",
    "LatentStore",
    "LatentWriter",
    "LatentsInfo",
    "Pace",
    "is_encoded",
    "merge_shards",
    "read_card",
]
