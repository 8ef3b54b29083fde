"""Text through noisy vectors: what is noised, what is read back, and what an oracle writes."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from multimodal.diffusion.continuous.correctors import Langevin, MetropolisLangevin, Score
from multimodal.diffusion.continuous.embeddings import (
    LEAST_NOISE,
    TEXT_SDES,
    CategoricalEmbeddings,
    EmbeddingDiffusion,
    RegressedEmbeddings,
)
from multimodal.diffusion.continuous.metropolis import Moved
from multimodal.diffusion.continuous.predictors import PREDICTORS, Ancestral, ProbabilityFlow
from multimodal.diffusion.continuous.randomness import Randomness
from multimodal.diffusion.continuous.sde import SDE
from multimodal.diffusion.continuous.simplex import SimplexDiffusion
from multimodal.diffusion.continuous.text import TextDiffusion, TextSampling, VectorDenoiser
from multimodal.selfcheck.toys import randomness

PAD, MASK, VOCAB, SIZE = 0, 1, 12, 8
TABLE = torch.randn(VOCAB, SIZE, generator=torch.Generator().manual_seed(5))
TEXT = torch.tensor([[4, 7, 2, 9, 3, PAD, PAD], [5, 5, 6, 8, 10, 11, PAD]])
PLAIN = TextSampling(6, 0.0, ProbabilityFlow())


def gaussian(kind: type[EmbeddingDiffusion] = CategoricalEmbeddings, sde: str = "vp") -> EmbeddingDiffusion:
    return kind(MASK, lambda: TABLE, TEXT_SDES[sde])


def simplex(block_size: int = 3) -> SimplexDiffusion:
    return SimplexDiffusion(MASK, PAD, VOCAB, block_size)


def generators(rows: int = 2) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(rows)]


def oracle(diffusion: TextDiffusion, text: Tensor = TEXT) -> VectorDenoiser:
    """Knows the text, and loves the mask."""
    logits = torch.full((*text.shape, VOCAB), -20.0).scatter(-1, text[..., None], 20.0)
    logits[..., MASK] = 100.0
    output = diffusion.table[text] if isinstance(diffusion, RegressedEmbeddings) else logits
    return lambda vectors, estimate, noise, rows: output[rows]


def ignorant(vectors: Tensor, estimate: Tensor | None, noise: Tensor, rows: Tensor) -> Tensor:
    return torch.zeros(*noise.shape, VOCAB)


@pytest.mark.parametrize("sde", TEXT_SDES)
def test_what_a_denoiser_sees_has_unit_variance(sde: str) -> None:
    """At every noise level, whatever the process adds; and embeddings have the norm sqrt(size)."""
    diffusion = gaussian(sde=sde)
    torch.testing.assert_close(diffusion.table.square().sum(-1), torch.full((VOCAB,), float(SIZE)))
    x_0 = TEXT.repeat(400, 40)
    for time in (0.01, 0.3, 0.7, 1.0):
        noisy = diffusion.corrupt(
            x_0, torch.full((len(x_0),), time), torch.ones_like(x_0, dtype=torch.bool), randomness(0)
        )
        assert noisy.vectors.square().mean().item() == pytest.approx(1.0, rel=0.05)
        assert torch.equal(noisy.noise, torch.full(x_0.shape, noisy.noise[0, 0].item())) and noisy.learnt.all()


def test_given_text_stays_clean() -> None:
    """Closed positions are clean vectors of noise 0 and are not learnt; open ones are not clean."""
    open_positions = torch.tensor([[False, True, True, False, False, False, False], [False] * 6 + [True]])
    for diffusion, clean in ((gaussian(), gaussian().table[TEXT]), (simplex(), torch.eye(VOCAB)[TEXT])):
        noisy = diffusion.corrupt(TEXT, torch.tensor([0.9, 0.5]), open_positions, randomness(0))
        torch.testing.assert_close(noisy.vectors[~open_positions], clean[~open_positions])
        assert (noisy.vectors - clean)[open_positions].abs().amax(-1).min() > 1e-3
        assert torch.equal(noisy.learnt, open_positions)
        assert torch.equal(noisy.noise > 0, open_positions) and noisy.noise[0, 1] > noisy.noise[1, 6]


@pytest.mark.parametrize("sde", TEXT_SDES)
def test_no_time_is_spent_where_tokens_can_be_read(sde: str) -> None:
    """The smallest t of training has the least noise, std = scale; the largest stays 1, where sampling starts."""
    diffusion, everywhere = gaussian(sde=sde), torch.ones_like(TEXT, dtype=torch.bool)
    noise = diffusion.corrupt(TEXT, torch.tensor([1e-9, 1.0]), everywhere, randomness(0)).noise
    assert noise[0].tolist() == pytest.approx([diffusion.end_time] * 7) and noise[1].tolist() == [1.0] * 7
    at = diffusion.sde.marginal(torch.tensor(diffusion.end_time))
    assert (at.std / at.scale).item() == pytest.approx(LEAST_NOISE, rel=1e-4)


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("corrector", [None, Langevin(), MetropolisLangevin()])
def test_an_oracle_writes_its_text(predictor: str, corrector: Langevin | MetropolisLangevin | None) -> None:
    """With any predictor and corrector and either objective; the given words stand, and the mask is never written."""
    canvas = TEXT.clone()
    canvas[0, 2:] = canvas[1, :5] = MASK
    how = replace(PLAIN, predictor=PREDICTORS[predictor](), corrector=corrector, corrector_steps=2)
    for diffusion in (gaussian(), gaussian(sde="ve"), gaussian(RegressedEmbeddings)):
        output = diffusion.sample(oracle(diffusion), canvas, generators(), how)
        assert torch.equal(output.tokens, TEXT)
        assert (output.confidence[canvas != MASK] == 1).all() and (output.confidence > 0.5).all()
        calls = {None: 0, Langevin: 1, MetropolisLangevin: 3}[corrector and type(corrector)]  # type: ignore[index]
        assert output.nfe.tolist() == [6 + 2 * 5 * calls] * 2


class Spy(Langevin):
    """A corrector that moves nothing and keeps what it was given."""

    seen: ClassVar[list[tuple[Tensor, Tensor, Tensor]]] = []

    def step(self, sde: SDE, score: Score, x: Tensor, t: Tensor, randomness: Randomness) -> Moved:
        self.seen.append((x, score(x, t), t))
        return Moved(x, torch.ones(len(x), dtype=torch.bool))


def spied(
    diffusion: EmbeddingDiffusion, denoiser: VectorDenoiser, canvas: Tensor, how: TextSampling
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(x, score, t) at each time but the first."""
    Spy.seen.clear()
    diffusion.sample(denoiser, canvas, generators(), replace(how, num_steps=3, corrector=Spy()))
    return list(Spy.seen)


def test_given_text_is_not_weighed() -> None:
    """What a corrector does is decided by the open positions alone: elsewhere the score is 0."""
    canvas = TEXT.clone()
    canvas[:, 2:4] = MASK
    seen = spied(gaussian(), ignorant, canvas, PLAIN)
    assert len(seen) == 2
    assert all(torch.equal(score.abs().sum(-1) > 0, canvas == MASK) for _, score, _ in seen)


def test_clamping_steers_by_the_nearest_embedding() -> None:
    """Between two likely tokens the score leads to their middle; clamped, to the likelier one."""
    diffusion, likely = gaussian(), torch.full((VOCAB,), -30.0)
    likely[3], likely[4] = 1.0, 0.9
    middle = (likely.softmax(-1)[:, None] * diffusion.table).sum(0)
    for nearest, goal in ((False, middle), (True, diffusion.table[3])):
        how, canvas = replace(PLAIN, nearest=nearest), torch.full((2, 7), MASK)
        for x, score, t in spied(diffusion, lambda vectors, *_: likely.expand(2, 7, VOCAB), canvas, how):
            estimate = diffusion.sde.denoised(x, score, t)
            torch.testing.assert_close(estimate, goal.expand(2, 7, SIZE), atol=1e-3, rtol=1e-3)


def test_calls_at_one_time_share_an_estimate() -> None:
    """That of the time before: a Metropolis rule must compare scores of one density. The first call has none."""
    diffusion, seen = gaussian(), []

    def denoiser(vectors: Tensor, estimate: Tensor | None, noise: Tensor, rows: Tensor) -> Tensor:
        seen.append((noise.amax().item(), estimate))
        return torch.randn(*noise.shape, VOCAB, generator=torch.Generator().manual_seed(len(seen)))

    how = replace(PLAIN, num_steps=4, corrector=MetropolisLangevin(), keep_trajectory=True)
    output = diffusion.sample(denoiser, torch.full((2, 7), MASK), generators(), how)
    assert seen[0][1] is None
    for (time, estimate), (later, next_estimate) in pairwise(seen):
        assert (estimate is next_estimate) == (time == later)
    assert len(output.trajectory) == 1 + len(seen)


def test_regression_learns_from_vectors_and_from_rounding() -> None:
    """No squared error at the clean vectors, where rounding is all that is left; both reach the embeddings."""
    table = TABLE.clone().requires_grad_()
    diffusion = RegressedEmbeddings(MASK, lambda: table, TEXT_SDES["vp"])
    x_0, weights = TEXT.flatten(), torch.ones(TEXT.numel())
    exact = diffusion.table[x_0]
    rounding = TextDiffusion.loss(diffusion, exact, x_0, weights).mean
    torch.testing.assert_close(diffusion.loss(exact, x_0, weights).mean, rounding)
    off = diffusion.loss((exact + 1).detach(), x_0, weights)
    assert off.mean > rounding + 0.5
    off.mean.backward()
    assert table.grad is not None and table.grad.abs().sum() > 0


def test_blocks_are_cut_from_open_positions() -> None:
    """From the left, given text between them or not."""
    open_positions = torch.tensor([[False, True, True, False, True, True, True], [True] * 7])
    assert simplex().blocks(open_positions).tolist() == [[-1, 0, 0, -1, 0, 1, 1], [0, 0, 0, 1, 1, 1, 2]]


def test_one_block_is_learnt_between_text_and_masks() -> None:
    """Before it the clean text, after it masks, which count as noise; each block has its turn."""
    open_positions, chosen = torch.ones_like(TEXT, dtype=torch.bool), set()
    for seed in range(20):
        noisy = simplex().corrupt(TEXT, torch.tensor([0.4, 0.8]), open_positions, randomness(seed))
        for row in range(2):
            places = noisy.learnt[row].nonzero().squeeze(-1)
            start, end = int(places[0]), int(places[-1]) + 1
            chosen.add((start, end))
            assert torch.equal(noisy.vectors[row, :start].argmax(-1), TEXT[row, :start])
            assert (noisy.vectors[row, end:].argmax(-1) == MASK).all()
            torch.testing.assert_close(noisy.vectors[row].sum(-1), torch.ones(7))
            assert noisy.noise[row].tolist() == pytest.approx(
                [0.0] * start + [[0.4, 0.8][row]] * (end - start) + [1.0] * (7 - end)
            )
    assert chosen == {(0, 3), (3, 6), (6, 7)}


def test_an_oracle_writes_block_by_block() -> None:
    """Steps are shared out among the blocks; a text that has ended needs no further one; given words stand."""
    output = simplex().sample(
        oracle(simplex()), torch.full((2, 7), MASK), generators(), replace(PLAIN, keep_trajectory=True)
    )
    assert torch.equal(output.tokens, TEXT)
    assert output.nfe.tolist() == [4, 6]  # six steps for three blocks; the first text ends within the second
    assert [(step == MASK).sum().item() for step in output.trajectory] == [14, 8, 8, 2, 2, 1, 1]
    canvas = TEXT.clone()
    canvas[:, 1:5] = MASK
    output = simplex().sample(oracle(simplex()), canvas, generators(), PLAIN)
    assert torch.equal(output.tokens, TEXT) and output.nfe.tolist() == [4, 4]


@pytest.mark.parametrize("diffusion", [gaussian(), simplex()], ids=["gaussian", "simplex"])
def test_at_a_temperature_tokens_are_drawn(diffusion: TextDiffusion) -> None:
    """From the denoiser's distribution, without the mask; at 0 the first of equals is taken."""
    how = replace(PLAIN, predictor=Ancestral(), num_steps=1, temperature=1.0)
    canvas, rows = torch.full((300, 3), MASK), generators(300)
    tokens = diffusion.sample(ignorant, canvas, rows, how).tokens[:, 0]
    shares = torch.bincount(tokens, minlength=VOCAB) / len(tokens)
    assert shares[MASK] == 0 and (shares[[*range(1), *range(2, VOCAB)]] > 0.03).all()
    assert (diffusion.sample(ignorant, canvas, rows, replace(how, temperature=0.0)).tokens == PAD).all()


@pytest.mark.parametrize("diffusion", [gaussian(), simplex()], ids=["gaussian", "simplex"])
def test_a_row_does_not_depend_on_its_batch(diffusion: TextDiffusion) -> None:
    """Vectors that the denoiser sees and tokens that are drawn, alone as together."""
    net = torch.randn(diffusion.corrupt(TEXT, torch.ones(2), TEXT >= 0, randomness(0)).vectors.shape[-1], VOCAB)

    def denoiser(vectors: Tensor, estimate: Tensor | None, noise: Tensor, rows: Tensor) -> Tensor:
        return vectors @ net + noise[..., None]

    def write(rows: Sequence[int]) -> list[list[int]]:
        noise = [torch.Generator().manual_seed(row) for row in rows]
        how = replace(PLAIN, predictor=Ancestral(), temperature=0.5, corrector=MetropolisLangevin())
        tokens: list[list[int]] = diffusion.sample(
            denoiser, torch.full((len(rows), 7), MASK), noise, how
        ).tokens.tolist()
        return tokens

    together = write([0, 1, 2, 3])
    assert write([3, 1]) == [together[3], together[1]]
    assert len({tuple(row) for row in together}) > 1


def test_guidance_moves_away_from_the_unconditional() -> None:
    """Scale 1 is the conditional one; log-probabilities and vectors both are moved on a line."""
    conditional, unconditional = torch.randn(3, VOCAB), torch.randn(3, VOCAB)
    torch.testing.assert_close(gaussian().guide([conditional, unconditional], [1.0, 0.0]), conditional.log_softmax(-1))
    vectors = gaussian(RegressedEmbeddings).guide([conditional, unconditional], [2.0, -1.0])
    torch.testing.assert_close(vectors, 2 * conditional - unconditional)
