"""No text is shorter than a quantile of the length that the first call sees."""

import pytest
import torch

from multimodal.diffusion.samplers import ConfidenceSampler
from multimodal.generation.length_floor import LengthFloor

PAD, MASK, WORD = 0, 1, 2
SLOTS = 5


def shrinking(tokens, rows):
    """A decoder that is unsure of the length and believes in no text at all once it sees the end of one.

    On the empty canvas its slots are padding with rising probability; beside any padding all are with 0.9.
    """
    ended = (tokens == PAD).any(-1)
    pad = torch.where(ended[:, None], 0.9, torch.tensor([0.0, 0.3, 0.4, 0.6, 0.8]).expand(len(rows), SLOTS))
    probs = torch.stack([pad, torch.zeros_like(pad), 1 - pad], -1)
    return probs.clamp_min(1e-9).log()


def write(canvas, quantile):
    canvas = torch.tensor(canvas)
    floor = LengthFloor(canvas, MASK, PAD, quantile)
    repeatable = torch.tensor([True, False, True])
    sampler = ConfidenceSampler(MASK, num_steps=SLOTS, repeatable=repeatable, threshold=1.0)
    return sampler.sample(lambda tokens, rows: floor(shrinking(tokens, rows), rows), canvas).tokens.tolist()


@pytest.mark.parametrize(("quantile", "length"), [(0, 1), (0.35, 2), (0.5, 3), (0.7, 4)])
def test_a_text_is_as_long_as_the_quantile(quantile, length):
    """Without a floor the first slot, sure from the start, is all that stays of the text."""
    assert write([[MASK] * SLOTS], quantile) == [[WORD] * length + [PAD] * (SLOTS - length)]


def test_gaps_and_neighbours_are_left_alone():
    """A canvas with given tokens has its padding inside; beside it a whole canvas is held to its length."""
    gap = [WORD, MASK, MASK, MASK, WORD]
    assert write([gap, [MASK] * SLOTS], 0.5) == [write([gap], 0)[0], write([[MASK] * SLOTS], 0.5)[0]]
