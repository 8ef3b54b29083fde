"""Where the work of a stage runs."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from multimodal.options import Options

Kind = Literal["threads", "processes", "ray"]


class RunnerOptions(Options):
    """Who does the work; no result depends on it. `runner: ray` stands for `runner: {kind: ray}`.

    Args:
        kind: `threads` of this process, worker `processes` of this machine, or the actors of a `ray` cluster.
        workers: processes or actors, each with a model of its own.
        cpus: processors for each worker, which Ray reserves.
        threads: of torch in each worker; None: one for each of its processors. Their number has not been seen to change
            a bit of any latent (conf/LOG.md).
        gpus: ray: share of a GPU that each worker reserves, 0.25 for four on one; None: a whole one where the cluster
            has any.
        address: ray: of the cluster's head; `auto` is the one that this machine belongs to. None: what `RAY_ADDRESS`
            names, which `ray job submit` sets, else a cluster of this machine alone for the time of the stage.
    """

    kind: Kind = "threads"
    workers: int = Field(default=2, ge=1)
    cpus: float = Field(default=1.0, gt=0)
    threads: int | None = Field(default=None, ge=1)
    gpus: float | None = Field(default=None, ge=0)
    address: str | None = None

    @property
    def is_alone(self) -> bool:
        """Whether Ray is to be started on this machine for the time of the stage."""
        return self.kind == "ray" and self.address is None and "RAY_ADDRESS" not in os.environ

    @property
    def torch_threads(self) -> int:
        """Of each worker."""
        return self.threads or max(1, int(self.cpus))

    @field_validator("address")
    @classmethod
    def _inside_the_cluster(cls, address: str | None) -> str | None:
        if address is not None and address.startswith("ray://"):
            raise ValueError(
                f"{address} is for Ray Client, which moves every byte through one process; run this program inside "
                "the cluster (`ray job submit`), with the address 'auto'"
            )
        return address


def _spelled_out(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Runner = Annotated[RunnerOptions, BeforeValidator(_spelled_out)]
"""A field of this type takes `ray` for `{kind: ray}`."""
