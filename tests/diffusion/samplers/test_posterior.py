"""Ancestral sampling by the process."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from multimodal.diffusion.processes import AbsorbingProcess, HybridProcess, Process, UniformProcess
from multimodal.diffusion.samplers import AncestralSampler, PosteriorSampler
from multimodal.diffusion.samplers.posterior import draw

MASK, VOCAB, ROWS, LENGTH = 1, 6, 400, 20
PROCESSES = [AbsorbingProcess(MASK, VOCAB), UniformProcess(MASK, VOCAB), HybridProcess(MASK, VOCAB, replaced=0.2)]

every_process = pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)


def generators(count: int = ROWS) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(count)]


def trajectory(process: Process, num_steps: int, temperature: float = 1.0) -> Tensor:
    """Canvases [num_steps + 1, ROWS, LENGTH] of a denoiser that is sure of token 3."""
    logits = torch.zeros(ROWS, LENGTH, VOCAB)
    logits[..., 3] = 60.0
    sampler = PosteriorSampler(MASK, num_steps, temperature, process=process)
    canvas = torch.full((ROWS, LENGTH), MASK)
    output = sampler.sample(lambda tokens, rows: logits[rows], canvas, generators(), keep_trajectory=True)
    return torch.stack(output.trajectory)


@every_process
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_canvas_is_as_noisy_as_the_process_says(process: Process, temperature: float) -> None:
    """Going back from x_1 to x_s with the true text gives q(x_s | x_0) at every time."""
    for step, canvas in enumerate(trajectory(process, 5, temperature)):
        marginal = process.marginals(torch.tensor(1 - step / 5)).value
        clean = marginal.keep + marginal.replaced / (VOCAB - 1)
        torch.testing.assert_close((canvas == 3).float().mean(), clean, atol=0.015, rtol=0)
        torch.testing.assert_close((canvas == MASK).float().mean(), marginal.masked, atol=0.015, rtol=0)


def test_with_masks_it_is_the_ancestral_sampler() -> None:
    """As many masks at each time, and tokens by the same distribution."""
    logits = torch.randn(LENGTH, VOCAB, generator=torch.Generator().manual_seed(0))
    canvas = torch.full((ROWS, LENGTH), MASK)

    def shares(sampler: AncestralSampler | PosteriorSampler) -> list[Tensor]:
        output = sampler.sample(lambda tokens, rows: logits.expand(len(rows), -1, -1), canvas, generators(), True)
        written = [step != MASK for step in output.trajectory[:-1]]
        frequencies = torch.nn.functional.one_hot(output.trajectory[-2], VOCAB).double().mean((0, 1))
        return [*(step.double().mean() for step in written), frequencies]

    ours = shares(PosteriorSampler(MASK, 4, 1.0, process=AbsorbingProcess(MASK, VOCAB)))
    for first, second in zip(ours, shares(AncestralSampler(MASK, 4, 1.0)), strict=True):
        torch.testing.assert_close(first, second, atol=0.015, rtol=0)


@every_process
def test_the_last_step_is_greedy_and_all_are_taken(process: Process) -> None:
    """Every row makes `num_steps` calls; the text is the likeliest given what stands; its confidence is what the other
    positions say of it."""
    logits = torch.randn(ROWS, LENGTH, VOCAB, generator=torch.Generator().manual_seed(1))
    sampler = PosteriorSampler(MASK, 3, 1.0, process=process)
    canvas = torch.full((ROWS, LENGTH), MASK)
    output = sampler.sample(lambda tokens, rows: logits[rows], canvas, generators(), True)
    assert output.nfe.unique().tolist() == [3]
    probs = logits.index_fill(-1, torch.tensor(MASK), -torch.inf).softmax(-1)
    third = torch.full((ROWS,), 1 / 3)
    clean = process.posterior(output.trajectory[-2], probs, third, torch.zeros(ROWS))
    assert torch.equal(output.tokens, clean.argmax(-1))
    torch.testing.assert_close(output.confidence, probs.gather(-1, output.tokens[..., None]).squeeze(-1))


def test_a_row_without_gaps_needs_no_call() -> None:
    """Given tokens stand, and nothing is asked of the denoiser."""
    canvas = torch.tensor([[2, 3, 4], [2, MASK, 4]])
    logits = torch.zeros(2, 3, VOCAB)
    sampler = PosteriorSampler(MASK, 4, process=UniformProcess(MASK, VOCAB))
    output = sampler.sample(lambda tokens, rows: logits[rows], canvas, generators(2))
    assert output.nfe.tolist() == [0, 4]
    assert output.tokens[0].tolist() == [2, 3, 4] and output.tokens[1, [0, 2]].tolist() == [2, 4]


def test_drawing_inverts_the_distribution() -> None:
    """Chances at and around the sums; what has no probability is never drawn."""
    probs = torch.tensor([[[0.25, 0.0, 0.5, 0.25, 0.0]]]).expand(1, 6, 5)
    chance = torch.tensor([[0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53]], dtype=torch.float64)
    assert draw(probs, chance).tolist() == [[0, 0, 2, 2, 3, 3]]
