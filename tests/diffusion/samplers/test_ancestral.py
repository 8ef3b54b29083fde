"""The reverse process: how many masks stand at each time, and what is taken back."""

import pytest
import torch
from torch import Tensor

from multimodal.diffusion.samplers import AncestralSampler, RemaskingSampler, Sampler
from multimodal.diffusion.schedule import CosineSchedule

MASK, VOCAB, ROWS, LENGTH = 1, 6, 400, 20


def masks_by_step(sampler: Sampler) -> Tensor:
    """Share of masks before and after each step, [num_steps + 1]."""
    logits = torch.zeros(ROWS, LENGTH, VOCAB)
    generators = [torch.Generator().manual_seed(row) for row in range(ROWS)]
    canvas = torch.full((ROWS, LENGTH), MASK)
    output = sampler.sample(lambda tokens, rows: logits[rows], canvas, generators, keep_trajectory=True)
    return torch.stack([(step == MASK).float().mean() for step in output.trajectory])


@pytest.mark.parametrize("sampler", [AncestralSampler(MASK, 5), RemaskingSampler(MASK, 5, remasking=0.3)])
def test_as_many_masks_stand_as_the_schedule_says(sampler: Sampler) -> None:
    """1 - alpha(t) at every time, whether tokens are taken back or not (ReMDM keeps the marginals)."""
    torch.testing.assert_close(masks_by_step(sampler), torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2, 0.0]), atol=0.015, rtol=0)


def test_another_schedule_is_followed() -> None:
    """Half way through the cosine schedule cos(pi / 4) of the tokens are masked."""
    assert masks_by_step(AncestralSampler(MASK, 2, schedule=CosineSchedule()))[1].item() == pytest.approx(
        0.7071, abs=0.015
    )


def test_drawn_tokens_follow_the_denoiser() -> None:
    """At temperature 1 tokens are drawn from the denoiser's distribution, whatever step they are drawn in."""
    logits = torch.tensor([-torch.inf, -torch.inf, 0.6, 0.3, 0.1, -torch.inf])
    logits[2:5] = logits[2:5].log()
    generators = [torch.Generator().manual_seed(row) for row in range(ROWS)]
    output = AncestralSampler(MASK, 4, temperature=1.0).sample(
        lambda tokens, rows: logits.expand(len(rows), LENGTH, VOCAB), torch.full((ROWS, LENGTH), MASK), generators
    )
    shares = torch.bincount(output.tokens.flatten(), minlength=VOCAB) / output.tokens.numel()
    torch.testing.assert_close(shares[2:5], torch.tensor([0.6, 0.3, 0.1]), atol=0.02, rtol=0)


def test_doubtful_tokens_are_taken_back_oftener() -> None:
    """Of written tokens the less sure ones, here the first half, are masked again more often."""
    logits = torch.zeros(ROWS, LENGTH, VOCAB)
    logits[:, LENGTH // 2 :, 2] = 4.0
    generators = [torch.Generator().manual_seed(row) for row in range(ROWS)]
    output = RemaskingSampler(MASK, 8, remasking=0.1).sample(
        lambda tokens, rows: logits[rows], torch.full((ROWS, LENGTH), MASK), generators, keep_trajectory=True
    )
    taken_back = torch.zeros(LENGTH)
    for before, after in zip(output.trajectory, output.trajectory[1:], strict=False):
        taken_back += ((before != MASK) & (after == MASK)).sum(0)
    doubtful, sure = taken_back.view(2, -1).sum(-1)
    assert doubtful > 1.2 * sure > 0
