"""What can be said about evaluation."""

from __future__ import annotations

from pydantic import Field

from multimodal.options import Options
from multimodal.sample import Split


class EvaluateOptions(Options):
    """What is scored and shown.

    Args:
        split: the split that is scored; "val" while choosing, "test" for the report.
        max_samples: per task, the first by sample id (an unbiased choice); None scores all.
        batch_size: samples generated at once.
        gallery: samples shown per task, with their media.
        trajectories: samples per task whose denoising is shown step by step.
    """

    split: Split = Split.TEST
    max_samples: int | None = Field(default=None, ge=2)
    batch_size: int = Field(default=64, ge=1)
    gallery: int = Field(default=24, ge=1)
    trajectories: int = Field(default=4, ge=0)
