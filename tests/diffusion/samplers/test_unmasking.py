"""Samplers that unmask the surest positions: how many each rule lets go, and in which order."""

import pytest
import torch
from torch import Tensor

from multimodal.diffusion.samplers import (
    BestFirstSampler,
    ConfidenceSampler,
    EntropyBoundedSampler,
    SafeSampler,
    ScheduledSampler,
)

MASK, VOCAB = 1, 12
TRUTH = torch.tensor([[2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 2, 3]])


class Oracle:
    """Knows the text; how sure it is may differ by position."""

    def __init__(self, sureness: Tensor) -> None:
        self.logits = torch.nn.functional.one_hot(TRUTH, VOCAB).float() * sureness[..., None]
        self.calls = 0

    def __call__(self, tokens: Tensor, rows: Tensor) -> Tensor:
        self.calls += 1
        return self.logits[rows]


def canvas() -> Tensor:
    return torch.full(TRUTH.shape, MASK)


def test_a_sure_oracle_needs_one_call() -> None:
    """All positions reach the threshold at once."""
    output = ConfidenceSampler(MASK, num_steps=8, threshold=0.9).sample(Oracle(torch.full((2, 6), 50.0)), canvas())
    assert torch.equal(output.tokens, TRUTH) and output.nfe.tolist() == [1, 1]


@pytest.mark.parametrize("num_steps", [1, 2, 3, 6, 20])
def test_an_unsure_oracle_is_done_in_num_steps(num_steps: int) -> None:
    """The share of each step suffices, no mask is left, and no more calls are made than masks stand."""
    oracle = Oracle(torch.full((2, 6), 2.0))
    output = ConfidenceSampler(MASK, num_steps, threshold=0.99).sample(oracle, canvas())
    assert torch.equal(output.tokens, TRUTH) and oracle.calls == min(num_steps, 6)


def test_a_finished_row_leaves_the_batch() -> None:
    """NFE is counted by row."""
    sureness = torch.stack([torch.full((6,), 50.0), torch.full((6,), 2.0)])
    output = ConfidenceSampler(MASK, 6, threshold=0.9).sample(Oracle(sureness), canvas())
    assert output.nfe.tolist() == [1, 6]


def test_given_tokens_stay_and_masks_are_never_written() -> None:
    """Only masks are filled, and never by the mask itself however likely it is."""
    start = canvas()
    start[0, :3] = torch.tensor([11, 10, 9])
    likes_masks = torch.zeros(2, 6, VOCAB)
    likes_masks[..., MASK] = 100.0
    output = ConfidenceSampler(MASK, 3, threshold=0.9).sample(lambda tokens, rows: likes_masks[rows], start)
    assert output.tokens[0, :3].tolist() == [11, 10, 9]
    assert not (output.tokens == MASK).any()
    assert output.confidence[0, :3].tolist() == [1, 1, 1]


def test_surest_first() -> None:
    """The trajectory begins at the canvas, reveals the surest position first and ends at the tokens."""
    sureness = torch.tensor([[1.0, 5.0, 1.0, 1.0, 1.0, 1.0]] * 2)
    output = ConfidenceSampler(MASK, 6, threshold=0.999).sample(Oracle(sureness), canvas(), keep_trajectory=True)
    assert len(output.trajectory) == 7
    assert (output.trajectory[0] == MASK).all() and torch.equal(output.trajectory[-1], output.tokens)
    assert output.trajectory[1][0].tolist() == [MASK, 3, MASK, MASK, MASK, MASK]


def test_neighbours_do_not_stutter() -> None:
    """Two equal neighbours are not revealed in one step unless they may repeat; a later look may change the second."""
    logits = torch.zeros(1, 2, VOCAB)
    logits[0, 0, 5], logits[0, 1, 5] = 9.0, 8.0

    def denoiser(tokens: Tensor, rows: Tensor) -> Tensor:
        seen = logits.clone()
        if tokens[0, 0] == 5:
            seen[0, 1, 6] = 20.0
        return seen

    start = torch.full((1, 2), MASK)
    assert ConfidenceSampler(MASK, 4, threshold=0.9).sample(denoiser, start).tokens.tolist() == [[5, 6]]
    repeatable = torch.zeros(VOCAB, dtype=torch.bool)
    repeatable[5] = True
    free = ConfidenceSampler(MASK, 4, threshold=0.9, repeatable=repeatable).sample(denoiser, start)
    assert free.tokens.tolist() == [[5, 5]]


def test_drawing_follows_the_distribution() -> None:
    """At temperature 1 a single position is drawn from the softmax of its logits."""
    logits = torch.log(torch.tensor([0.0, 0.0, 0.7, 0.3])).expand(2000, 1, 4)
    generators = [torch.Generator().manual_seed(seed) for seed in range(2000)]
    sampler = ConfidenceSampler(MASK, 1, temperature=1.0)
    output = sampler.sample(lambda tokens, rows: logits[rows], torch.full((2000, 1), MASK), generators)
    assert abs((output.tokens == 2).float().mean().item() - 0.7) < 0.03


def with_probability(*probabilities: float) -> Tensor:
    """Logits [1, n, 4] that give token 2 these probabilities and token 3 the rest."""
    likely = torch.tensor(probabilities)
    return torch.stack([torch.zeros_like(likely), torch.zeros_like(likely), likely, 1 - likely], -1).log()[None]


def written_at_first(sampler: object, logits: Tensor) -> list[bool]:
    """Which positions the first step unmasks."""
    output = sampler.sample(lambda tokens, rows: logits[rows], torch.full(logits.shape[:2], MASK), None, True)  # type: ignore[attr-defined]
    return (output.trajectory[1][0] != MASK).tolist()


FREE = torch.ones(4, dtype=torch.bool)
"""All tokens may stand beside themselves."""


def test_the_entropies_but_the_largest_stay_within_the_bound() -> None:
    """The EB rule (Ben-Hamu et al. 2025) on entropies of 0.056, 0.325 and 0.693 nats: sums without the largest are
    0, 0.056 and 0.381."""
    logits = with_probability(0.9, 0.5, 0.99)

    def first(bound: float) -> list[bool]:
        sampler = EntropyBoundedSampler(MASK, 3, repeatable=FREE, entropy_bound=bound)
        return written_at_first(sampler, logits)

    assert first(0.0) == [False, False, True]
    assert first(0.055) == [False, False, True]
    assert first(0.06) == [True, False, True]
    assert first(0.37) == [True, False, True]
    assert first(0.39) == [True, True, True]


def test_the_safe_rule_is_the_theorem() -> None:
    """(n + 1)(1 - p_n) < 1 (Fast-dLLM, theorem 1): 2 * 0.05, 3 * 0.3 and 4 * 0.3 for the three surest."""
    logits = with_probability(0.7, 0.95, 0.7)
    assert written_at_first(SafeSampler(MASK, 3, repeatable=FREE), logits) == [True, True, False]
    assert written_at_first(SafeSampler(MASK, 3, repeatable=FREE, safety=0.8), logits) == [False, True, False]
    assert written_at_first(SafeSampler(MASK, 3, repeatable=FREE, safety=1.3), logits) == [True, True, True]


@pytest.mark.parametrize(
    ("unmasking", "counts"), [("linear", [2, 4, 6, 8]), ("cosine", [1, 3, 5, 8]), ("convex", [1, 2, 4, 8])]
)
def test_schedules_write_their_share(unmasking: str, counts: list[int]) -> None:
    """Eight tokens in four steps; shares rounded up."""
    logits = with_probability(*[0.9] * 8)
    sampler = ScheduledSampler(MASK, 4, repeatable=FREE, unmasking=unmasking)
    output = sampler.sample(lambda tokens, rows: logits[rows], torch.full((1, 8), MASK), None, True)
    assert [int((canvas != MASK).sum()) for canvas in output.trajectory[1:]] == counts


def test_best_first_writes_equal_numbers_the_surest_first() -> None:
    """Three positions in three steps: one each, by falling confidence."""
    logits = with_probability(0.7, 0.95, 0.8)
    output = BestFirstSampler(MASK, 3, repeatable=FREE).sample(
        lambda tokens, rows: logits[rows], torch.full((1, 3), MASK), None, True
    )
    assert [(canvas[0] != MASK).tolist() for canvas in output.trajectory[1:]] == [
        [False, True, False],
        [False, True, True],
        [True, True, True],
    ]
