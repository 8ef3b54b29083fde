"""Who starts a training of several processes: the first decides, the others follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import PartialState

from multimodal.latents import LatentsInfo
from multimodal.pairs.filtered import open_dataset
from multimodal.sample import Modality
from multimodal.training.job import TrainJob, TrainResult, train
from multimodal.training.loop import Log
from multimodal.training.ranks import LONGEST_WAIT
from multimodal.training.torchrun import num_processes


@dataclass(frozen=True, slots=True)
class Assignment:
    """What all processes train: see `train`.

    Args:
        dataset: its folder. It, the latents and the workspace lie where every process finds them.
        pairs: scores of its pairs, by which some of its samples are left out; None: none are.
    """

    job: TrainJob
    dataset: Path
    latents: Mapping[Modality, LatentsInfo]
    workspace: Path
    pairs: Path | None = None


def lead(
    assignment: Assignment,
    log: Log = lambda step, metrics: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainResult:
    """Train, in the first process; the others, which `follow`, take part. Errors as of `train`."""
    if num_processes() > 1:
        _tell(assignment)
    return _train(assignment, log, progress)


def follow() -> None:
    """Take part in all trainings that the first process leads, until it dismisses the others. Errors as of `train`."""
    while (assignment := _tell(None)) is not None:
        _train(assignment)
    PartialState().destroy_process_group()


def dismiss() -> None:
    """The first process leads no more trainings."""
    _tell(None)
    PartialState().destroy_process_group()


def _train(
    assignment: Assignment,
    log: Log = lambda step, metrics: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainResult:
    dataset = open_dataset(assignment.dataset, assignment.pairs)
    return train(assignment.job, dataset, assignment.latents, assignment.workspace, log, progress)


def _tell(assignment: Assignment | None) -> Assignment | None:
    """What the first process says; the others' own argument counts for nothing."""
    PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST_WAIT)
    said = [assignment]
    # Gloo, whatever the training uses: NCCL would keep the GPUs of those who wait busy.
    group = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
    dist.broadcast_object_list(said, src=0, group=group)
    return said[0]
