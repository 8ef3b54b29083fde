"""Discrete processes: how text becomes noise, and what follows from that for losses, bounds and samplers.

base        what they share: marginals, q_sample, posterior, likelihood bound
absorbing   tokens become masks
uniform     tokens become other words
hybrid      tokens become other words and masks
"""

from typing import Any

from multimodal.diffusion.processes.absorbing import AbsorbingProcess
from multimodal.diffusion.processes.base import Process
from multimodal.diffusion.processes.hybrid import HybridProcess
from multimodal.diffusion.processes.uniform import UniformProcess

PROCESSES: dict[str, type[Process]] = {
    "absorbing": AbsorbingProcess,
    "uniform": UniformProcess,
    "hybrid": HybridProcess,
    "speculative": AbsorbingProcess,  # its gaps; texts it reads left to right
}


def build_process(name: str, mask_token_id: int, vocab_size: int, **options: Any) -> Process:
    """A process by its name, with its further options."""
    return PROCESSES[name](mask_token_id, vocab_size, **options)


__all__ = ["PROCESSES", "AbsorbingProcess", "HybridProcess", "Process", "UniformProcess", "build_process"]
