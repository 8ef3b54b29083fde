"""Revision corrects what is written."""

from __future__ import annotations

import torch
from torch import Tensor

from multimodal.diffusion.samplers import ConfidenceSampler, RevisionSampler
from multimodal.diffusion.samplers.revision import MOST_REVISIONS

MASK, VOCAB = 1, 9


def changes_its_mind(tokens: Tensor, rows: Tensor) -> Tensor:
    """Says 6 at first; once the second token is 3, says 7 instead, surely."""
    logits = torch.zeros(len(tokens), 2, VOCAB)
    logits[:, 1, 3] = 9.0
    logits[:, 0, 6] = 9.0
    logits[tokens[:, 1] == 3, 0, 7] = 20.0
    return logits


def blank(length: int = 2) -> Tensor:
    return torch.full((1, length), MASK)


def test_a_wrong_token_is_replaced() -> None:
    """By the likelier one, in the call that sees its neighbour; then a call without change ends it."""
    output = RevisionSampler(MASK, 6).sample(changes_its_mind, blank(), keep_trajectory=True)
    assert [canvas[0].tolist() for canvas in output.trajectory] == [[MASK, MASK], [6, 3], [7, 3], [7, 3]]
    assert output.nfe.tolist() == [3] and output.confidence[0, 0] > 0.99
    assert ConfidenceSampler(MASK, 6).sample(changes_its_mind, blank()).tokens.tolist() == [[6, 3]]


def test_only_above_the_threshold() -> None:
    """A replacement that is likely, but not likely enough, is not made."""

    def doubts(tokens: Tensor, rows: Tensor) -> Tensor:
        logits = changes_its_mind(tokens, rows)
        logits[:, 0, 7].clamp_(max=11.0)  # with 6 at 9 this is 0.88
        return logits

    assert RevisionSampler(MASK, 6, edit_threshold=0.9).sample(doubts, blank()).tokens.tolist() == [[6, 3]]
    assert RevisionSampler(MASK, 6, edit_threshold=0.8).sample(doubts, blank()).tokens.tolist() == [[7, 3]]


def test_given_tokens_are_never_revised() -> None:
    """However wrong the denoiser thinks them."""
    canvas = torch.tensor([[6, MASK]])
    assert RevisionSampler(MASK, 6).sample(changes_its_mind, canvas).tokens.tolist() == [[6, 3]]


def test_a_position_is_revised_at_most_so_often() -> None:
    """A denoiser that always wants another token does not go on for ever."""

    def restless(tokens: Tensor, rows: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(2 + (tokens - 1) % 7, VOCAB) * 40.0

    output = RevisionSampler(MASK, 12).sample(restless, blank(1), keep_trajectory=True)
    written = [int(canvas[0, 0]) for canvas in output.trajectory]
    assert len(set(written[1:])) == 1 + MOST_REVISIONS and output.nfe.tolist() == [2 + MOST_REVISIONS]


def test_the_last_call_is_left_to_revision() -> None:
    """All masks are gone one call earlier, however unsure the denoiser is."""
    logits = torch.randn(1, 8, VOCAB, generator=torch.Generator().manual_seed(0))
    output = RevisionSampler(MASK, 4, threshold=1.0).sample(lambda tokens, rows: logits, blank(8), None, True)
    assert not (output.trajectory[-2] == MASK).any() and len(output.trajectory) >= 4


def test_edits_do_not_stutter() -> None:
    """Two neighbours that both turn into one token in the same call do not see each other: one of them waits."""

    def stutters(tokens: Tensor, rows: Tensor) -> Tensor:
        logits = torch.zeros(1, 3, VOCAB)
        logits[0, torch.arange(3), torch.tensor([2, 3, 4])] = 9.0
        if not (tokens == MASK).any() and not (tokens == 5).any():
            logits[0, 0, 5], logits[0, 1, 5] = 30.0, 29.0
        return logits

    output = RevisionSampler(MASK, 3).sample(stutters, blank(3), keep_trajectory=True)
    assert output.trajectory[2].tolist() == [[5, 3, 4]]
