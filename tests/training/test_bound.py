"""The likelihood bound of val texts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from multimodal.decoder import ConditionInput, CrossAttentionDecoder, DecoderConfig
from multimodal.sample import Task
from multimodal.training.bound import DRAWS, ValBound, low_discrepancy
from tests.training.conftest import Toy


class Ignorant(nn.Module):
    """A decoder to which all words are alike."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, 1)

    def condition(self, condition: ConditionInput) -> None:
        return None

    def forward(self, tokens: Tensor, condition: None, positions: Tensor | None = None) -> Tensor:
        logits = torch.zeros(*tokens.shape, self.config.vocab_size)
        return logits if positions is None else logits[positions]


def of_captions(toy: Toy, count: int = 128) -> ValBound:
    batches = toy.batches[Task.CAPTION]
    batches.samples = toy.samples[:count]
    return ValBound({Task.CAPTION: batches}, toy.tokenizer)


@pytest.mark.parametrize("process", ["absorbing", "uniform", "hybrid"])
def test_bound_of_an_ignorant_decoder(make_toy: Callable[..., Toy], process: str) -> None:
    """Every position costs log(words), whatever the process: the canvas' positions over the text's tokens."""
    toy = make_toy(process)
    bound = of_captions(toy)
    decoder = Ignorant(toy.decoder.config)
    value = bound(decoder)["val/bound"]  # type: ignore[arg-type]
    lengths = [len(toy.tokenizer.encode(sample.text)) + 1 for sample in toy.samples[:128]]
    words = torch.tensor(toy.tokenizer.vocab_size - 1.0)
    assert value == pytest.approx(16 * len(lengths) / sum(lengths) * words.log().item(), rel=0.03)
    assert bound(decoder)["val/bound"] == value  # type: ignore[arg-type]


def test_an_autoregressive_decoder_is_scored_exactly(make_toy: Callable[..., Toy]) -> None:
    """Its cross-entropy per token, the end included; no noise is involved."""
    toy = make_toy("autoregressive")
    bound = of_captions(toy)
    value = bound(Ignorant(toy.decoder.config))["val/bound"]  # type: ignore[arg-type]
    assert value == pytest.approx(torch.tensor(float(toy.tokenizer.vocab_size)).log().item())


def test_a_decoder_that_reads_left_to_right_is_scored_as_the_twin_is(make_toy: Callable[..., Toy]) -> None:
    """With the same weights: one that drafts too is scored on its texts by what it reads alone."""
    speculative, twin = make_toy("speculative"), make_toy("autoregressive")
    twin.decoder.load_state_dict(speculative.decoder.state_dict())
    values = [of_captions(toy, 32)(toy.decoder.eval())["val/bound"] for toy in (speculative, twin)]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_only_open_positions_count(make_toy: Callable[..., Toy]) -> None:
    """An infill's given words cost nothing: its bound is that of its gaps."""
    toy = make_toy()
    some = toy.batches[Task.INFILL]
    value = ValBound({Task.INFILL: some}, toy.tokenizer)(Ignorant(toy.decoder.config))["val/bound"]  # type: ignore[arg-type]
    batch = some.batch(0, len(some.samples))
    tokens = (batch.open_positions & (batch.weights == 1)).sum()
    words = torch.tensor(toy.tokenizer.vocab_size - 1.0)
    assert value == pytest.approx((batch.open_positions.sum() / tokens * words.log()).item(), rel=0.03)


def test_without_texts_there_is_no_bound(make_toy: Callable[..., Toy]) -> None:
    """Nothing is logged, nothing divided."""
    toy = make_toy()
    assert ValBound({}, toy.tokenizer)(CrossAttentionDecoder(toy.decoder.config)) == {}


def test_draws_cover_the_unit_interval_evenly() -> None:
    """One in each of draws x batch equal parts, and each row's spread over all of it."""
    places = low_discrepancy(DRAWS, 10, torch.Generator().manual_seed(0))
    cells = (places * DRAWS * 10).long().flatten()
    assert len(cells.unique()) == DRAWS * 10
    assert (places.amax(0) - places.amin(0) > 0.99 - 1 / DRAWS).all()
