"""What can be said about distillation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from multimodal.options import Options


class HalvingOptions(Options):
    """One round: a student learns to write in one step what its teacher writes in several.

    Args:
        num_steps: of the student, from an empty canvas to a text.
        teacher_steps: of the teacher in each of the student's.
        trajectory: `confident`, the teacher writes what it is surest of, and the student learns that text; or
            `ancestral`, the teacher draws, and the student learns its distributions (SDTT).
    """

    num_steps: int = Field(default=2, ge=1)
    teacher_steps: int = Field(default=2, ge=2)
    trajectory: Literal["confident", "ancestral"] = "confident"


class DistillOptions(HalvingOptions):
    """What `multimodal distill` does; `num_steps` is what the last round comes to. What is not named here (tasks,
    batches, optimiser) is as in the training of the configuration.

    Args:
        rounds: each takes the student before it as its teacher, and divides the steps by `teacher_steps`.
        steps: optimiser steps of a round.
        minutes: most of a round; None: no limit.
        learning_rate: its highest.
    """

    rounds: int = Field(default=2, ge=1)
    steps: int = Field(default=200, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    learning_rate: float = Field(default=5e-4, gt=0)

    def of_round(self, number: int) -> HalvingOptions:
        """The options of a round, counted from 1."""
        num_steps = self.num_steps * self.teacher_steps ** (self.rounds - number)
        values = self.model_dump(include=set(HalvingOptions.model_fields))
        return HalvingOptions.model_validate(values | {"num_steps": num_steps})
