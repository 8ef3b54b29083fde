"""Renoising keeps the surest."""

from __future__ import annotations

import torch

from multimodal.diffusion.processes import AbsorbingProcess, UniformProcess
from multimodal.diffusion.samplers import MaskPredictSampler, RenoisingSampler

MASK, VOCAB = 1, 8


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(count)]


def test_with_masks_it_is_mask_predict() -> None:
    """The absorbing process's noise are masks: the same canvases at every step."""
    logits = torch.randn(4, 8, VOCAB, generator=torch.Generator().manual_seed(0))
    canvas = torch.full((4, 8), MASK)
    canvas[2, :3] = 5
    process = AbsorbingProcess(MASK, VOCAB)
    ours = RenoisingSampler(MASK, 4, process=process).sample(lambda t, rows: logits[rows], canvas, generators(4), True)
    theirs = MaskPredictSampler(MASK, 4).sample(lambda t, rows: logits[rows], canvas, None, True)
    for first, second in zip(ours.trajectory, theirs.trajectory, strict=True):
        assert torch.equal(first, second)
    torch.testing.assert_close(ours.confidence, theirs.confidence)


def test_the_surest_stay_and_the_others_are_noise() -> None:
    """Of eight tokens in four steps two, four and six stay; the rest is drawn from all words."""
    logits = torch.zeros(300, 8, VOCAB)
    logits[..., 3] = torch.arange(12.0, 20.0)
    sampler = RenoisingSampler(MASK, 4, process=UniformProcess(MASK, VOCAB))
    canvas = torch.full((300, 8), MASK)
    output = sampler.sample(lambda tokens, rows: logits[rows], canvas, generators(300), keep_trajectory=True)
    for step, kept in enumerate([2, 4, 6, 8], start=1):
        right = (output.trajectory[step] == 3).float().mean(0)
        assert (right[8 - kept :] == 1).all()
        assert ((right[: 8 - kept] - 1 / (VOCAB - 1)).abs() < 0.07).all()
