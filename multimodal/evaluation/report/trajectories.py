"""A few texts written once more with every step kept: how words come out of the masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multimodal.evaluation.report.inputs import ReportInputs
from multimodal.evaluation.task_results import TaskResult
from multimodal.evaluation.writing import build_request
from multimodal.tokenizer import MASK, PAD


def player_films(result: TaskResult, inputs: ReportInputs) -> list[dict[str, Any]]:
    """The first samples that the model did not refuse, as the page's player reads them.

    Each is `{"index": of the sample, "steps": canvases}`; a canvas is a list of token texts, None where a position is
    masked and "" where it is padding.
    """
    chosen = [index for index, generation in enumerate(result.generations) if generation]
    chosen = chosen[: inputs.options.trajectories]
    if not chosen:
        return []
    requests = [build_request(result.items[index], inputs.stores) for index in chosen]
    generations = inputs.generator.generate(requests, inputs.sampler, trajectory=True)
    pairs = zip(chosen, generations, strict=True)
    return [{"index": index, "steps": canvases(generation.trajectory)} for index, generation in pairs]


def canvases(trajectory: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """The canvases of a trajectory, masks as None and padding as ""; positions keep their places."""
    return [[None if text == MASK else "" if text == PAD else text for text in canvas] for canvas in trajectory]
