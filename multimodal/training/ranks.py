"""Several processes that train one decoder: started by torchrun, joined by accelerate, each with its rows of a batch.

All of them draw the same noise for the whole batch and go on with their own rows, so that gradient and loss are those
of one process but for the order of sums; means beside that over tokens (of lengths, of confidence) and noise that
depends on the decoder (edits, a teacher's draws) are each process's own. The first writes checkpoints and scores; the
others wait for what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from multimodal.diffusion.loss import LossOutput
from multimodal.errors import ConfigError
from multimodal.training.batches import TaskBatch
from multimodal.training.torchrun import num_processes

LONGEST_WAIT = timedelta(days=7)
"""For the first process while it ingests, encodes, scores or calibrates. torchrun ends the others if it dies."""

ValueT = TypeVar("ValueT")


class AllTasks(nn.Module):
    """One forward for the batches of all tasks: data parallelism counts on one forward for each backward."""

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, batches: Mapping[str, TaskBatch], generator: torch.Generator) -> dict[str, LossOutput]:
        """The loss of each batch, by the batches' names; all noise comes from `generator`."""
        return {name: self.objective(batch, generator) for name, batch in batches.items()}


class Ranks:
    """The processes that train together; one alone where torchrun started none.

    Args:
        mixed_precision: as accelerate calls it.
    """

    def __init__(self, mixed_precision: str) -> None:
        AcceleratorState._reset_state()  # else a second training of one process keeps the first one's precision
        together = num_processes() > 1
        self.accelerator = Accelerator(
            mixed_precision=mixed_precision,
            # Without a GPU accelerate joins the processes only if it is told that they compute on the CPU. Told
            # nothing, each would train alone.
            cpu=together and not torch.cuda.is_available(),
            kwargs_handlers=[
                InitProcessGroupKwargs(timeout=LONGEST_WAIT),
                # Which parameters a step uses depends on the tasks, styles and hints in it.
                DistributedDataParallelKwargs(find_unused_parameters=True),
            ],
        )
        self.count, self.index = self.accelerator.num_processes, self.accelerator.process_index
        self.is_first = self.index == 0

    @property
    def rows(self) -> slice:
        """Which rows of every batch are this process's: every n-th, since times of noise rise with the rows."""
        return slice(self.index, None, self.count) if self.count > 1 else slice(None)

    def check(self, sizes: Mapping[str, int]) -> None:
        """Refuse batches that cannot be split.

        Raises:
            ConfigError: a batch has fewer rows than there are processes.
        """
        for name, size in sizes.items():
            if size < self.count:
                raise ConfigError(
                    f"{self.count} processes cannot share the {size} rows a step of '{name}'; raise train.batch_size, "
                    "or start fewer"
                )

    def means(self, losses: Mapping[str, LossOutput]) -> dict[str, Tensor]:
        """The mean of each loss over the whole batch, by name.

        The value is that of all rows; the gradient is that of this process's part of the mean, times the number of
        processes, by which data parallelism divides the sum.
        """
        if self.count == 1:
            return {name: loss.mean for name, loss in losses.items()}
        own = torch.stack([torch.stack([loss.sum.float(), loss.weight.float()]) for loss in losses.values()])
        sums, weights = self.accelerator.reduce(own.detach()).unbind(-1)
        parts = own[:, 0] * self.count / weights.clamp(min=1e-6)
        values = parts + (sums / weights.clamp(min=1e-6) - parts).detach()
        return dict(zip(losses, values.unbind(), strict=True))

    def from_first(self, value: ValueT) -> ValueT:
        """What the first process says; it is waited for."""
        if self.count == 1:
            return value
        said = [value]
        broadcast_object_list(said)
        return said[0]

    def agree(self, value: int) -> bool:
        """Whether all processes say the same number."""
        if self.count == 1:
            return True
        told = self.accelerator.gather(torch.tensor([value], device=self.accelerator.device))
        return bool((told == value).all())

    def wait(self) -> None:
        """Until all are here."""
        self.accelerator.wait_for_everyone()
