"""Mask-predict revises."""

import torch
from torch import Tensor

from multimodal.diffusion.samplers import ConfidenceSampler, MaskPredictSampler

MASK, VOCAB = 1, 8


def denoiser(tokens: Tensor, rows: Tensor) -> Tensor:
    """Unsure of the first token, and wrong, until it sees the second."""
    logits = torch.zeros(len(tokens), 2, VOCAB)
    logits[:, 1, 3] = 9.0
    logits[:, 0, 6] = 5.0
    logits[tokens[:, 1] == 3, 0, 7] = 20.0
    return logits


def test_a_wrong_token_is_taken_back() -> None:
    """The least sure token is masked and written anew beside its neighbour; the confidence sampler keeps it."""
    canvas = torch.full((1, 2), MASK)
    output = MaskPredictSampler(MASK, 2).sample(denoiser, canvas, keep_trajectory=True)
    assert output.trajectory[1].tolist() == [[MASK, 3]]
    assert output.tokens.tolist() == [[7, 3]]
    assert ConfidenceSampler(MASK, 2, threshold=0.9).sample(denoiser, canvas).tokens.tolist() == [[6, 3]]


def test_fewer_are_taken_back_each_time() -> None:
    """Of eight tokens in four steps: six, four and two masks are left (Ghazvininejad et al. 2019)."""
    logits = torch.randn(1, 8, VOCAB, generator=torch.Generator().manual_seed(0))
    output = MaskPredictSampler(MASK, 4).sample(lambda tokens, rows: logits, torch.full((1, 8), MASK), None, True)
    assert [int((canvas == MASK).sum()) for canvas in output.trajectory] == [8, 6, 4, 2, 0]
