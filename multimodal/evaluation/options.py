"""What can be said about evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from multimodal.options import Options
from multimodal.sample import Split


class EvaluateOptions(Options):
    """What is scored and shown.

    Args:
        split: the split that is scored; "val" while choosing, "test" for the report.
        max_samples: per task, the first by sample id (an unbiased choice); None scores all.
        batch_size: samples generated at once.
        gallery: samples shown at once per task in the report's gallery; all samples are in it.
        trajectories: samples per task whose denoising is shown step by step.
        normaliser: what is done to both texts before words and characters are compared; part of each signature.
        frontier: sampler steps at which quality and latency are measured, beside the evaluation; empty for none.
        controls_samples: texts per task that the model writes without its condition. Without temperature they are all
            the same, and one is written.
        resamples: of the bootstrap that gives each score its interval.
    """

    split: Split = Split.TEST
    max_samples: int | None = Field(default=None, ge=2)
    batch_size: int = Field(default=64, ge=1)
    gallery: int = Field(default=24, ge=1)
    trajectories: int = Field(default=4, ge=0)
    normaliser: Literal["none", "basic", "english", "open_asr"] = "none"
    frontier: tuple[Annotated[int, Field(ge=1)], ...] = (2, 4, 8, 16)
    controls_samples: int = Field(default=200, ge=1)
    resamples: int = Field(default=1000, ge=100)
