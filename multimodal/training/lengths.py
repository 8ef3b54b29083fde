"""The loss of how many tokens latents stand for, which every objective adds to its own."""

from __future__ import annotations

from multimodal.decoder import Condition
from multimodal.diffusion.loss import LossOutput
from multimodal.training.batches import TaskBatch

LENGTH_WEIGHT = 0.3


def with_lengths(loss: LossOutput, condition: Condition, batch: TaskBatch) -> LossOutput:
    """Add what the latents say of the text's length, relative to it (the quantity loss of Dong & Xu 2020), where they
    are the text itself: read aloud, or misspelt."""
    if batch.lengths is None or condition.lengths is None:
        return loss
    wanted = batch.lengths.to(condition.lengths)
    error = ((condition.lengths - wanted).abs() / wanted.clamp(min=1)).mean()
    return LossOutput(loss.sum + LENGTH_WEIGHT * error * loss.weight, loss.weight)
