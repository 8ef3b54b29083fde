"""Which pairs of a content and a text are scored, and which are left out."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from multimodal.options import Options
from multimodal.sample import Modality, Split, Task


class KeepOptions(Options):
    """Which pairs of one task stay; where both are named, a pair must pass both.

    Args:
        keep_top_fraction: this share of each split's scored pairs, those that score highest; between equals the
            sample id decides.
        min_score: pairs whose cosine is at least this.
    """

    keep_top_fraction: float | None = Field(default=None, gt=0, le=1)
    min_score: float | None = Field(default=None, ge=-1, le=1)

    @model_validator(mode="after")
    def _say_which(self) -> KeepOptions:
        if self.keep_top_fraction is None and self.min_score is None:
            raise ValueError("name keep_top_fraction, min_score, or both")
        return self


class PairOptions(Options):
    """Alignment of pictures and sounds with their texts, by encoders that have a text side.

    Args:
        keep: task -> which of its pairs stay. Tasks that are not named are scored, and all their pairs stay.
        splits: whose pairs may be left out. By default only train's: what a model is chosen and judged by stays whole.
        batch_size: texts encoded at once.
    """

    keep: dict[Task, KeepOptions] = Field(default_factory=dict)
    splits: tuple[Split, ...] = (Split.TRAIN,)
    batch_size: int = Field(default=256, ge=1)

    @field_validator("keep")
    @classmethod
    def _only_media(cls, keep: dict[Task, KeepOptions]) -> dict[Task, KeepOptions]:
        for task in keep:
            if task.modality is Modality.TEXT:
                raise ValueError(f"'{task}' reads text: only pictures and sounds are compared with their texts")
        return keep
