"""What is found out by measuring: the batch size, and whether bfloat16 is faster and how far it is from float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from multimodal.encoders.base import Encoder, EncoderOutput
from multimodal.encoders.shard import is_out_of_memory, release_memory
from multimodal.storage import Precision

LARGEST_BATCH = 512
WORTH = 1.05
"""A batch size is doubled as long as that makes a content cheaper by so much."""

TRIAL_SECONDS = 10.0
"""No further batch size is tried once the trials have taken this long."""

WORTH_BFLOAT16 = 1.2
"""bfloat16 is taken where it is faster by so much."""

LARGEST_ERROR = 0.05
"""bfloat16 is not taken where states differ by more than this, relative to their norm."""


def find_batch_size(encoder: Encoder, inputs: Sequence[Tensor], smallest: int = 4) -> int:
    """The batch size at which a content is cheapest, found by doubling; memory that runs out ends the search.

    Args:
        inputs: prepared contents; no larger batch than all of them is tried.
    """
    best = size = min(smallest, max(1, len(inputs)))
    clock, fastest = _clock(encoder), float("inf")
    started = clock()
    while size <= min(len(inputs), LARGEST_BATCH):
        try:
            seconds = _seconds(encoder, inputs[:size]) / size
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            seconds = float("inf")
        if seconds == float("inf"):
            release_memory()
        if seconds * WORTH >= fastest or seconds == float("inf"):
            break
        best, fastest = size, seconds
        if clock() - started > TRIAL_SECONDS:
            break
        size *= 2
    return best


@dataclass(frozen=True, slots=True)
class Parity:
    """bfloat16 beside float32 on some contents.

    Args:
        contents: how many.
        relative_l2: the largest error of a content: L2 norm of the difference over that of the float32 states.
        cosine: the smallest between the two pooled vectors of a content.
        speedup: seconds in float32 over seconds in bfloat16.
    """

    contents: int
    relative_l2: float
    cosine: float
    speedup: float

    def to_json(self) -> dict[str, Any]:
        """For the index of a store."""
        return asdict(self)


def compare_precisions(encoder: Encoder, inputs: Sequence[Tensor]) -> Parity:
    """Encode a batch in both precisions; the encoder is left as it was."""
    chosen = encoder.precision
    try:
        outputs, seconds = {}, {}
        for precision in Precision:
            encoder.keep(encoder.storage, precision)
            seconds[precision] = _seconds(encoder, inputs)
            outputs[precision] = encoder(inputs)
    finally:
        encoder.keep(encoder.storage, chosen)
    reference, rounded = outputs[Precision.FLOAT32], outputs[Precision.BFLOAT16]
    cosine = torch.cosine_similarity(reference.pooled.float(), rounded.pooled.float(), dim=-1).min().item()
    speedup = seconds[Precision.FLOAT32] / max(seconds[Precision.BFLOAT16], 1e-9)
    return Parity(len(inputs), max(relative_errors(reference, rounded)), cosine, speedup)


def is_worth_it(parity: Parity) -> bool:
    """Whether bfloat16 is faster, and near enough."""
    return parity.speedup >= WORTH_BFLOAT16 and parity.relative_l2 <= LARGEST_ERROR


def relative_errors(reference: EncoderOutput, other: EncoderOutput) -> list[float]:
    """Of each content: L2 norm of the difference of its states over that of the reference's."""
    mask = reference.attention_mask[..., None]
    apart = ((other.hidden_states - reference.hidden_states).float() * mask).flatten(1).norm(dim=1)
    size = (reference.hidden_states.float() * mask).flatten(1).norm(dim=1)
    errors: list[float] = (apart / size.clamp(min=1e-12)).tolist()
    return errors


def _seconds(encoder: Encoder, inputs: Sequence[Tensor]) -> float:
    """The least of two, after one for warming up."""
    clock, taken = _clock(encoder), []
    for _ in range(3):
        started = clock()
        encoder(inputs)
        taken.append(clock() - started)
    return min(taken[1:])


def _clock(encoder: Encoder) -> Callable[[], float]:
    """Of the processor, where the model runs on it: whatever else the machine is doing must not decide."""
    device = getattr(encoder, "device", None)
    return time.perf_counter if device is not None and device.type != "cpu" else time.process_time
