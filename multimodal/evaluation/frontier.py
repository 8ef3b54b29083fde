"""Quality and latency against the number of denoising steps, so that a preset can be picked by budget."""

from __future__ import annotations

from dataclasses import dataclass

from multimodal.sample import Task


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """What one setting of the sampler costs and gives on one task.

    Args:
        task: what is written.
        num_steps: most steps of the sampler.
        threshold: its confidence threshold.
        nfe: mean calls of the denoiser per text.
        ms_per_sample: wall time per text in milliseconds, the median over batches.
        metric: name of the task's main metric.
        value: its value.
        higher_is_better: its direction.
        samples: texts written.
        batch_size: texts at once while the time was taken.
    """

    task: Task
    num_steps: int
    threshold: float
    nfe: float
    ms_per_sample: float
    metric: str
    value: float
    higher_is_better: bool
    samples: int
    batch_size: int
