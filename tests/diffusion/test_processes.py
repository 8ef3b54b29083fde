"""What holds for every discrete process, checked against transition matrices and toy texts by brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from multimodal.diffusion.processes import AbsorbingProcess, HybridProcess, Process, UniformProcess
from multimodal.diffusion.schedule import CosineSchedule, LinearSchedule

MASK, VOCAB = 1, 5
WORDS = [token for token in range(VOCAB) if token != MASK]
PROCESSES: list[Process] = [
    AbsorbingProcess(MASK, VOCAB),
    AbsorbingProcess(MASK, VOCAB, CosineSchedule()),
    UniformProcess(MASK, VOCAB),
    HybridProcess(MASK, VOCAB, replaced=0.2),
    HybridProcess(MASK, VOCAB, CosineSchedule(), replaced=0.3),
]

every_process = pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)


def matrix(process: Process, t: float) -> Tensor:
    """q(x_t | x_0) by its definition, float64 [x_0, x_t]; rows of the mask are never used."""
    marginal = process.marginals(torch.tensor(t, dtype=torch.float64)).value
    rows = torch.full((VOCAB, VOCAB), float(marginal.replaced) / len(WORDS), dtype=torch.float64)
    rows[:, MASK] = marginal.masked
    rows += marginal.keep * torch.eye(VOCAB, dtype=torch.float64)
    rows[MASK] = torch.eye(VOCAB, dtype=torch.float64)[MASK]
    return rows


def transition(process: Process, s: float, t: float) -> Tensor:
    """q(x_t | x_s) [x_s, x_t] for a word x_s or a mask: what takes the marginals at s to those at t."""
    at_s, at_t = (process.marginals(torch.tensor(time, dtype=torch.float64)).value for time in (s, t))
    keep = at_t.keep / at_s.keep
    # A fresh start from x_s: kept with keep, else as much noise as is needed to reach the marginal at t.
    noise = torch.full((VOCAB,), float(at_t.replaced - keep * at_s.replaced) / len(WORDS), dtype=torch.float64)
    noise[MASK] = at_t.masked - keep * at_s.masked
    return keep * torch.eye(VOCAB, dtype=torch.float64) + noise


@every_process
def test_marginals_are_probabilities_with_their_derivatives(process: Process) -> None:
    """Keep, masked and replaced sum to 1 at all times; the derivative equals autograd; noise is all at t = 1."""
    t = torch.linspace(0.01, 0.99, 30, dtype=torch.float64, requires_grad=True)
    marginals = process.marginals(t)
    for name in ("keep", "masked", "replaced"):
        value = getattr(marginals.value, name)
        (slope,) = torch.autograd.grad((value + 0 * t).sum(), t, retain_graph=True)
        torch.testing.assert_close(getattr(marginals.derivative, name), slope)
    total = marginals.value.keep + marginals.value.masked + marginals.value.replaced
    torch.testing.assert_close(total, torch.ones_like(t))
    ends = process.marginals(torch.tensor([0.0, 1.0], dtype=torch.float64)).value
    torch.testing.assert_close(ends.keep, torch.tensor([1.0, 0.0], dtype=torch.float64))


@every_process
def test_the_process_is_markov(process: Process) -> None:
    """Between any two times there is a transition matrix without negative entries that leads from one marginal to the
    other: without it neither posterior nor bound would mean anything."""
    for s, t in [(0.0, 0.3), (0.1, 0.15), (0.4, 0.9), (0.85, 0.99)]:
        step = transition(process, s, t)
        assert (step >= -1e-12).all()
        torch.testing.assert_close(step.sum(-1), torch.ones(VOCAB, dtype=torch.float64))
        torch.testing.assert_close((matrix(process, s) @ step)[WORDS], matrix(process, t)[WORDS])


@every_process
def test_q_sample_has_the_marginal(process: Process) -> None:
    """Counting what becomes of one token gives its row of q(x_t | x_0)."""
    times = [0.1, 0.5, 0.8, 1.0]
    x_t = process.q_sample(torch.full((4, 40_000), 3), torch.tensor(times), torch.Generator().manual_seed(0))
    for row, t in zip(x_t, times, strict=True):
        shares = torch.bincount(row, minlength=VOCAB) / len(row)
        torch.testing.assert_close(shares.double(), matrix(process, t)[3], atol=0.01, rtol=0)


@every_process
def test_nothing_is_left_at_the_end(process: Process) -> None:
    """x_1 does not depend on x_0, and the prior is drawn like it."""
    torch.testing.assert_close(matrix(process, 1.0)[0], matrix(process, 1.0)[4])
    prior = process.prior_sample((1, 40_000), torch.Generator().manual_seed(1))
    shares = torch.bincount(prior[0], minlength=VOCAB) / prior.numel()
    torch.testing.assert_close(shares.double(), matrix(process, 1.0)[2], atol=0.01, rtol=0)


@every_process
def test_given_positions_stay(process: Process) -> None:
    """Positions that are not open are never noised, even at t = 1."""
    x_0 = torch.tensor([[2, 3, 4, 2, 3, 4, 2, 3, 4, 0]] * 50)
    open_positions = torch.zeros(50, 10, dtype=torch.bool)
    open_positions[:, 3:6] = True
    x_t = process.q_sample(x_0, torch.ones(50), torch.Generator().manual_seed(0), open_positions)
    assert torch.equal(x_t[~open_positions], x_0[~open_positions])
    assert not torch.equal(x_t[open_positions], x_0[open_positions])


@every_process
@pytest.mark.parametrize(("t", "s"), [(0.9, 0.6), (0.5, 0.2), (0.3, 0.0), (1.0, 0.8)])
def test_posterior_is_bayes_rule(process: Process, t: float, s: float) -> None:
    """p(x_s | x_t) equals q(x_t | x_s) p(x_s), normalised, where p(x_s) comes from the prediction of x_0."""
    predicted = torch.tensor([0.1, 0.0, 0.2, 0.3, 0.4], dtype=torch.float64)
    step, before = transition(process, s, t), predicted @ matrix(process, s)
    for seen in range(VOCAB):
        joint = step[:, seen] * before
        if joint.sum() < 1e-9:
            continue  # the process never shows this token
        ours = process.posterior(
            torch.tensor([[seen]]),
            predicted[None, None],
            torch.tensor([t], dtype=torch.float64),
            torch.tensor([s], dtype=torch.float64),
        )
        torch.testing.assert_close(ours[0, 0], joint / joint.sum())


TEXTS = {(0, 2): 0.4, (2, 3): 0.3, (3, 2): 0.2, (4, 4): 0.1}
"""A distribution over texts of two tokens that depend on each other."""


def matrices(process: Process, t: Tensor) -> Tensor:
    """`matrix` at several times, [times, x_0, x_t]."""
    return torch.stack([matrix(process, float(time)) for time in t])


def expected_bounds(process: Process, blur: float = 0.0, nodes: int = 400) -> Tensor:
    """The bound's expectation for each of `TEXTS`, over all x_t and over t = s^2 (3 - 2 s), midpoints in s.

    The denoiser knows `TEXTS`: each clean token's probabilities given the other position's noisy one, which it blurs.
    """
    s = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    t, density = s**2 * (3 - 2 * s), 6 * s * (1 - s) / nodes
    states = torch.tensor(list(itertools.product(range(VOCAB), repeat=2)))
    texts, prior = torch.tensor(list(TEXTS)), torch.tensor(list(TEXTS.values()), dtype=torch.float64)
    noisy = matrices(process, t)
    seen = torch.stack([noisy[:, texts[:, None, i], states[None, :, i]] for i in (0, 1)])  # [2, times, texts, states]
    joint = prior[:, None] * seen.flip(0)
    is_token = torch.nn.functional.one_hot(texts, VOCAB).double()  # [texts, 2, vocab]
    probs = torch.einsum("itnx,niv->txiv", joint, is_token)  # [times, states, 2, vocab]
    probs = probs / probs.sum(-1, keepdim=True).clamp(min=1e-300)
    words = torch.tensor([float(token in WORDS) / len(WORDS) for token in range(VOCAB)], dtype=torch.float64)
    logits = ((1 - blur) * probs + blur * words).clamp(min=1e-300).log().flatten(0, 2)
    x_t = states.repeat(nodes, 1).flatten()
    times = t.repeat_interleave(2 * len(states))
    bounds = []
    for index, text in enumerate(texts):
        chance = density[:, None] * seen[0, :, index] * seen[1, :, index]  # [times, states]
        bound = process.likelihood_bound(logits, text.repeat(len(x_t) // 2), x_t, times).view(*chance.shape, 2).sum(-1)
        bounds.append((chance * bound)[chance > 0].sum())
    return torch.stack(bounds)


@every_process
def test_bound_of_an_exact_model_is_the_likelihood(process: Process) -> None:
    """A denoiser that knows the distribution of the texts has -log p(x_0) as its bound, for every text."""
    likelihoods = -torch.tensor(list(TEXTS.values()), dtype=torch.float64).log()
    torch.testing.assert_close(expected_bounds(process), likelihoods, atol=0.01, rtol=0)


@every_process
def test_bound_of_a_worse_model_is_higher(process: Process) -> None:
    """A denoiser blurred towards all words has on average a higher bound than the texts' entropy."""
    chances = torch.tensor(list(TEXTS.values()), dtype=torch.float64)
    entropy = -(chances * chances.log()).sum()
    assert (chances * expected_bounds(process, blur=0.3, nodes=60)).sum() > entropy + 0.1


def test_absorbing_bound_weighs_masks_by_one_over_t() -> None:
    """MDLM's equation 10: cross-entropy of masked tokens times -alpha' / (1 - alpha), 1 / t for the linear schedule
    and zero for visible tokens."""
    logits = torch.randn(3, 4, VOCAB, generator=torch.Generator().manual_seed(0))
    logits[..., MASK] = -torch.inf
    x_0 = torch.tensor([[2, 3, 4, 0]] * 3)
    masked = torch.tensor([[True, False, True, False]] * 3)
    t = torch.tensor([0.2, 0.5, 0.9])
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), x_0, reduction="none") * masked
    for schedule in (LinearSchedule(), CosineSchedule()):
        process, x_t = AbsorbingProcess(MASK, VOCAB, schedule), torch.where(masked, MASK, x_0)
        bound = process.likelihood_bound(logits.flatten(0, 1), x_0.flatten(), x_t.flatten(), t.repeat_interleave(4))
        noise = schedule(t)
        weights = -noise.d_alpha / (1 - noise.alpha)
        torch.testing.assert_close(bound.float().view(3, 4), weights[:, None] * losses, atol=1e-5, rtol=1e-4)


def test_hybrid_without_replacement_is_absorbing() -> None:
    """Same marginals, same bound; with it the share of replaced tokens peaks at half of alpha."""
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    plain, mixed = HybridProcess(MASK, VOCAB, replaced=0.0), HybridProcess(MASK, VOCAB, replaced=0.2)
    torch.testing.assert_close(plain.marginals(t).value.keep, AbsorbingProcess(MASK, VOCAB).marginals(t).value.keep)
    replaced = mixed.marginals(t).value.replaced
    assert t[replaced.argmax()].item() == pytest.approx(0.5) and replaced.max().item() == pytest.approx(0.2)


def test_uniform_loss_is_the_cross_entropy_of_bayes_rule() -> None:
    """-log p(x_0 | x_t) as the posterior at s = 0 gives it; copying is free where little is noise."""
    process = UniformProcess(MASK, VOCAB)
    logits = torch.randn(4, VOCAB, generator=torch.Generator().manual_seed(0))
    logits[:, MASK] = -torch.inf
    x_0, x_t, t = torch.tensor([2, 3, 4, 0]), torch.tensor([2, 4, 4, 3]), torch.tensor([0.1, 0.5, 0.9, 1.0])
    clean = process.posterior(x_t[:, None], logits.softmax(-1)[:, None], t, torch.zeros(4))[:, 0]
    expected = -clean.gather(-1, x_0[:, None]).log().mean()
    torch.testing.assert_close(process.loss(logits, x_0, x_t, t, torch.ones(4)).mean, expected)
    early = process.loss(torch.zeros(1, VOCAB), x_0[:1], x_t[:1], torch.tensor([1e-4]), torch.ones(1))
    assert early.mean < 1e-3


def test_hybrid_loss_joins_masks_and_edits() -> None:
    """mean CE of masks + edit_weight (mean CE of wrong tokens + keep_weight mean CE of right ones)."""
    process = HybridProcess(MASK, VOCAB, edit_weight=0.5, keep_weight=0.1)
    logits = torch.randn(6, VOCAB, generator=torch.Generator().manual_seed(0))
    x_0 = torch.tensor([2, 3, 4, 2, 3, 4])
    x_t = torch.tensor([MASK, MASK, 3, 2, 3, 4])
    losses = torch.nn.functional.cross_entropy(logits, x_0, reduction="none")
    expected = losses[:2].mean() + 0.5 * (losses[2] + 0.1 * losses[3:].mean())
    ours = process.loss(logits, x_0, x_t, torch.full((6,), 0.5), torch.ones(6))
    torch.testing.assert_close(ours.mean, expected)
