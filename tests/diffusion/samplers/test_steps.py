"""More steps give better texts: every sampler on toy texts whose distribution is known exactly."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from multimodal.diffusion import SAMPLERS_OF
from multimodal.diffusion.processes import AbsorbingProcess, HybridProcess, Process, UniformProcess
from multimodal.diffusion.samplers import SAMPLERS, Sampler
from multimodal.diffusion.samplers.posterior import ProcessSampler

MASK, VOCAB, LENGTH = 1, 9, 3
WORDS = [token for token in range(VOCAB) if token != MASK]
TEXTS = torch.tensor(list(itertools.product(WORDS, repeat=LENGTH)))
FREE = torch.ones(VOCAB, dtype=torch.bool)
PROCESSES: dict[str, Process] = {
    "absorbing": AbsorbingProcess(MASK, VOCAB),
    "uniform": UniformProcess(MASK, VOCAB),
    "hybrid": HybridProcess(MASK, VOCAB, replaced=0.2),
}


def build(name: str, process: str, num_steps: int, temperature: float) -> Sampler:
    kind = SAMPLERS[name]
    if issubclass(kind, ProcessSampler):
        return kind(MASK, num_steps, temperature, FREE, process=PROCESSES[process])
    return kind(MASK, num_steps, temperature, FREE)


class Exact:
    """The denoiser that a distribution over `TEXTS` implies: each clean token given what the others show.

    Args:
        chances: float [rows, texts].
        sampler: whose process and times say what a noisy token is worth.
    """

    def __init__(self, chances: Tensor, sampler: Sampler) -> None:
        self.chances, self.sampler, self.calls = chances, sampler, 0

    def __call__(self, tokens: Tensor, rows: Tensor) -> Tensor:
        noisy = self._noisy()
        self.calls += 1
        fits = noisy[TEXTS[None], tokens[:, None]]  # [rows, texts, length]
        others = torch.stack([fits[..., [j for j in range(LENGTH) if j != i]].prod(-1) for i in range(LENGTH)], 1)
        joint = self.chances[rows, None] * others  # [rows, length, texts]
        is_token = torch.nn.functional.one_hot(TEXTS, VOCAB).double()
        return torch.einsum("rlx,xlv->rlv", joint, is_token).clamp(min=1e-300).log()

    def _noisy(self) -> Tensor:
        """q(x_t | x_0) [x_0, x_t] at this call's time, up to a factor for each x_t."""
        if not isinstance(self.sampler, ProcessSampler):
            return torch.eye(VOCAB, dtype=torch.float64).index_fill(-1, torch.tensor(MASK), 1.0)
        t = torch.tensor(1 - self.calls / self.sampler.num_steps, dtype=torch.float64)
        marginal = self.sampler.process.marginals(t).value
        noise = torch.full((VOCAB,), float(marginal.replaced) / len(WORDS), dtype=torch.float64)
        noise[MASK] = marginal.masked
        return marginal.keep * torch.eye(VOCAB, dtype=torch.float64) + noise


def write(name: str, process: str, chances: Tensor, num_steps: int, temperature: float) -> Tensor:
    """Index into `TEXTS` of what a sampler writes for each row of `chances`."""
    sampler = build(name, process, num_steps, temperature)
    generators = [torch.Generator().manual_seed(row) for row in range(len(chances))]
    canvas = torch.full((len(chances), LENGTH), MASK)
    output = sampler.sample(Exact(chances, sampler), canvas, generators)
    return (output.tokens[:, None] == TEXTS).all(-1).long().argmax(-1)


def distance(name: str, process: str, chances: Tensor, num_steps: int, rows: int = 800) -> float:
    """Total variation between drawn texts and their distribution."""
    drawn = write(name, process, chances.expand(rows, -1), num_steps, 1.0)
    return float((torch.bincount(drawn, minlength=len(TEXTS)) / rows - chances).abs().sum() / 2)


@pytest.mark.parametrize(
    ("name", "process"),
    [
        ("entropy", "absorbing"),
        ("ancestral", "absorbing"),
        ("remasking", "absorbing"),
        ("posterior", "absorbing"),
        ("posterior", "uniform"),
        ("posterior", "hybrid"),
    ],
)
def test_drawn_texts_follow_their_distribution(name: str, process: str) -> None:
    """One step draws tokens that do not know each other; with many the texts' own distribution comes out."""
    generator = torch.Generator().manual_seed(0)
    chances = (4 * torch.randn(len(TEXTS), generator=generator, dtype=torch.float64)).softmax(-1)
    one, few, many = (distance(name, process, chances, num_steps) for num_steps in (1, 4, 24))
    assert one > few >= many and one > 5 * many and many < 0.14


GREEDY = [(name, process) for process in SAMPLERS_OF for name in SAMPLERS_OF[process] if name != "posterior"]
"""Ancestral sampling by the posterior is for drawing: its greedy texts settle by chance, and steps do not help."""


@pytest.mark.parametrize(("name", "process"), GREEDY)
def test_greedy_texts_get_no_worse_with_more_steps(name: str, process: str) -> None:
    """Over many distributions, how likely a text is beside the likeliest one does not fall as steps grow."""
    generator = torch.Generator().manual_seed(1)
    chances = (3 * torch.randn(150, len(TEXTS), generator=generator, dtype=torch.float64)).softmax(-1)
    qualities = []
    for num_steps in (1, 2, 3, 6, 12):
        chosen = write(name, process, chances, num_steps, 0.0)
        qualities.append(float((chances.gather(-1, chosen[:, None]).squeeze(-1) / chances.amax(-1)).mean()))
    assert all(after > before - 0.04 for before, after in itertools.pairwise(qualities))
    assert qualities[-1] > qualities[0] + 0.1
