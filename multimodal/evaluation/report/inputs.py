"""What the report is drawn from, and what it calls the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from multimodal.evaluation.options import EvaluateOptions
from multimodal.evaluation.task_results import TaskResult
from multimodal.evaluation.writing import Generator, Stores
from multimodal.sample import Task
from multimodal.training.options import SamplerOptions

if TYPE_CHECKING:
    from multimodal.dataset import Dataset

TASK_TITLES = {
    Task.CAPTION: "Captions",
    Task.TRANSCRIBE: "Transcripts",
    Task.DENOISE: "Denoise",
    Task.INFILL: "Infill",
    Task.RESTYLE: "Restyle",
    Task.AUDIO_CAPTION: "Audio captions",
}
TASK_MEANINGS = {
    Task.CAPTION: "pictures to text",
    Task.TRANSCRIBE: "speech to text",
    Task.DENOISE: "noisy to clean text",
    Task.INFILL: "a gap to its words",
    Task.RESTYLE: "same content, other style",
    Task.AUDIO_CAPTION: "sounds to text",
}


@dataclass(frozen=True)
class ReportInputs:
    """Everything that the report is drawn from.

    Args:
        results: one per task.
        skipped: tasks left out, with the reason.
        dataset: media of the gallery, and counts.
        stores: latents, for the texts that are written once more step by step.
        options, sampler: as evaluated.
        generator: the model.
        history: rows of the training, or None.
        facts: further lines for the head; `pipeline` is its title, `promotion` what the gate said.
    """

    results: Sequence[TaskResult]
    skipped: Mapping[str, str]
    dataset: Dataset
    stores: Stores
    options: EvaluateOptions
    sampler: SamplerOptions
    generator: Generator
    history: Path | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
