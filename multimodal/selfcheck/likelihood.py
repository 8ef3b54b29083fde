"""Likelihoods and their bounds, against exact ones of tiny languages."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from multimodal.decoder import ConditionInput, CrossAttentionDecoder, DecoderConfig
from multimodal.diffusion.processes import AbsorbingProcess
from multimodal.figures import AMBER, BLUE, INK, add_legend, new_figure
from multimodal.selfcheck.finding import Finding

MASK, WORDS, LENGTH = 0, (1, 2, 3), 3
START = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
FOLLOWS = torch.tensor([[0.1, 0.8, 0.1], [0.5, 0.1, 0.4], [0.2, 0.2, 0.6]], dtype=torch.float64)
"""A language of three words: the first word, and what follows each."""


def absorbing_bound(draws: int = 40_000) -> Finding:
    """The bound of each text of the language on random masks, for two denoisers whose bounds are known.

    The exact denoiser's is the likelihood itself, whatever the order in which masks fall. One that ignores its context
    pays for every position as if it stood alone.
    """
    texts = torch.tensor(list(itertools.product(WORDS, repeat=LENGTH)))
    probs = (
        START[texts[:, 0] - 1] * FOLLOWS[texts[:, 0] - 1, texts[:, 1] - 1] * FOLLOWS[texts[:, 1] - 1, texts[:, 2] - 1]
    )
    alone = torch.stack([_word_shares(texts[:, place], probs) for place in range(LENGTH)])  # [length, words]
    generator, process = torch.Generator().manual_seed(0), AbsorbingProcess(MASK, len(WORDS) + 1)
    rows = torch.arange(len(texts)).repeat_interleave(draws)
    t = 1 - (torch.arange(len(rows)) % draws + torch.rand(len(rows), generator=generator)) / draws
    x_t = process.q_sample(texts[rows], t, generator)
    gaps: dict[str, Tensor] = {}
    bounds: dict[str, Tensor] = {}
    blind = alone.log().expand(len(rows), -1, -1)
    exact = {
        "exact": -probs.log(),
        "blind": -sum(alone[place].log()[texts[:, place] - 1] for place in range(LENGTH)),
    }
    for name, logs in (("exact", _exact_logits(x_t, texts, probs)), ("blind", blind)):
        logits = torch.cat([torch.full((*logs.shape[:2], 1), -torch.inf), logs.float()], -1)
        times = t.repeat_interleave(LENGTH)
        nats = process.likelihood_bound(logits.flatten(0, 1), texts[rows].flatten(), x_t.flatten(), times)
        found = nats.view(-1, LENGTH).sum(-1).view(-1, draws)
        bounds[name] = found.mean(-1)
        gaps[name] = (bounds[name] - exact[name]) / (found.std(-1) / draws**0.5).clamp(min=1e-6)
    worst = {name: gap.abs().max().item() for name, gap in gaps.items()}
    means = {name: (probs * bound).sum().item() for name, bound in bounds.items()}
    entropies = {name: (probs * value).sum().item() for name, value in exact.items()}
    figure, axes = new_figure(2.6, "exact negative log-likelihood by the same denoiser, nats")
    axes.axline((3, 3), slope=1, color=INK, linewidth=0.8)
    axes.plot(exact["exact"], bounds["exact"], ".", color=BLUE, label="exact denoiser")
    axes.plot(exact["blind"], bounds["blind"], ".", color=AMBER, label="denoiser without context")
    axes.set_ylabel("bound, nats", color=INK)
    add_legend(axes)
    most = 4.5
    return Finding(
        max(worst.values()) < most and means["blind"] > means["exact"],
        f"exact denoiser {means['exact']:.3f} nats a text (exactly {entropies['exact']:.3f}), without context "
        f"{means['blind']:.3f} ({entropies['blind']:.3f}); worst text {max(worst.values()):.1f} standard errors off",
        f"every text within {most} standard errors",
        figure,
    )


def _word_shares(words: Tensor, probs: Tensor) -> Tensor:
    """Probability of each word at one place."""
    return torch.zeros(len(WORDS), dtype=probs.dtype).index_add(0, words - 1, probs)


def _exact_logits(x_t: Tensor, texts: Tensor, probs: Tensor) -> Tensor:
    """Log-probabilities of the words at each place, given the visible ones: by summing over all texts."""
    states = len(WORDS) + 1
    seen = torch.tensor(list(itertools.product(range(states), repeat=LENGTH)))
    index = (x_t * torch.tensor([states**place for place in reversed(range(LENGTH))])).sum(-1)
    fits = ((seen[:, None] == texts) | (seen[:, None] == MASK)).all(-1) * probs  # [seen, texts]
    places = [torch.stack([_word_shares(texts[:, place], row) for row in fits]) for place in range(LENGTH)]
    shares = torch.stack(places, 1)
    return (shares / shares.sum(-1, keepdim=True)).clamp(min=1e-30).log()[index]


def autoregressive_sum() -> Finding:
    """The probabilities of all texts that end within three tokens, and of all that do not, sum to one.

    They would not if a position saw what comes after it.
    """
    end, start, vocab, longest = 0, 1, 5, 3
    torch.manual_seed(0)
    config = DecoderConfig(vocab, 8, {"image": 4}, ("caption",), hidden_size=32, num_layers=2, num_heads=4, causal=True)
    decoder = CrossAttentionDecoder(config).eval()
    with torch.no_grad():
        decoder.embedding.weight.mul_(4)  # an untrained decoder would find all texts equally likely
    total, count, most = 0.0, 0, 0.0
    for length in range(longest + 1):
        batch = (vocab - 1) ** length
        texts = torch.tensor(list(itertools.product(range(1, vocab), repeat=length))).long().view(batch, length)
        condition = ConditionInput(
            torch.zeros(batch, dtype=torch.long),
            torch.full((batch,), -1),
            "image",
            torch.ones(batch, 3, 4).cumsum(1),
            torch.ones(batch, 3, dtype=torch.bool),
        )
        inputs = torch.cat([torch.full((batch, 1), start), texts], 1)
        wanted = torch.cat([texts, torch.full((batch, 1), end)], 1)
        with torch.no_grad():
            logs = decoder(inputs, decoder.condition(condition)).double().log_softmax(-1)
        chosen = logs.gather(-1, wanted[..., None]).squeeze(-1)
        if length == longest:
            chosen = chosen[:, :-1]  # texts that have not ended
        probs = chosen.sum(-1).exp()
        total, count, most = total + probs.sum().item(), count + batch, max(most, probs.max().item())
    return Finding(
        abs(total - 1) < 1e-4,
        f"{count} texts sum to {total:.6f}; the likeliest has {most:.3f}",
        "1 within 0.0001",
    )
