"""What a decoder learns that drafts texts and reads them left to right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError

from multimodal.decoder import left_to_right, prefix_and_draft
from multimodal.diffusion.loss import weighted_cross_entropy
from multimodal.diffusion.schedule import stratified_times
from multimodal.generation.guidance import GuidedCondition
from multimodal.generation.speculative import SpeculativeSampler, shifted, until_end
from multimodal.generation.writers import SpeculativeWriter
from multimodal.sample import Task
from multimodal.training.objective import NextTokenObjective, build_objective
from multimodal.training.options import SpeculativeOptions, TrainOptions
from multimodal.training.speculative import SpeculativeObjective
from tests.training.conftest import Toy

CPU = torch.device("cpu")


def objective(toy: Toy, **options: float) -> SpeculativeObjective:
    train = TrainOptions(process="speculative", speculative=SpeculativeOptions(**options))
    built = build_objective(toy.decoder.eval(), toy.tokenizer, train)
    assert isinstance(built, SpeculativeObjective)
    return built


@torch.no_grad()
def test_texts_are_learnt_left_to_right_and_at_once(make_toy: Callable[..., Toy]) -> None:
    """The loss is the next token's, which the twin learns, and by its weight that of all tokens after some of them."""
    toy = make_toy("speculative")
    mask, pad = toy.tokenizer.mask_token_id, toy.tokenizer.pad_token_id
    batch = toy.batches[Task.CAPTION].batch(0, 8)
    next_token = NextTokenObjective(toy.decoder.eval(), mask, pad)(batch, torch.Generator()).mean
    condition = toy.decoder.condition(batch.condition)
    length = batch.x_0.shape[1]
    ends = until_end(batch.x_0, pad)
    prefix = (torch.rand(2, 8, generator=torch.Generator().manual_seed(5))[1] * ends.sum(-1)).long()
    assert prefix.min() < 3 and prefix.max() > 5
    behind = torch.arange(length) > prefix[:, None]  # the place at the prefix's end has a next token's loss
    seen = torch.where(behind, mask, shifted(batch.x_0[:, :-1], mask))
    draft = toy.decoder(seen, condition, layout=prefix_and_draft(length, prefix))
    wanted = ends & behind
    drafted = weighted_cross_entropy(draft[wanted], batch.x_0[wanted]).mean
    built = objective(toy, draft_weight=0.7, own=0.0)
    torch.testing.assert_close(built(batch, torch.Generator().manual_seed(5)).mean, next_token + 0.7 * drafted)
    built = objective(toy, draft_from=0.4)
    built.share_done = 0.1  # drafts come later
    torch.testing.assert_close(built(batch, torch.Generator()).mean, next_token)


@torch.no_grad()
def test_drafts_are_to_be_what_the_decoder_writes_itself(make_toy: Callable[..., Toy]) -> None:
    """The targets of its own are its greedy texts, as the strict sampler writes them; a share of rows has them."""
    toy = make_toy("speculative")
    mask, pad = toy.tokenizer.mask_token_id, toy.tokenizer.pad_token_id
    batch = toy.batches[Task.CAPTION].batch(0, 32)
    condition, length = toy.decoder.eval().condition(batch.condition), batch.x_0.shape[1]
    masks = torch.full_like(batch.x_0, mask)
    greedy = SpeculativeSampler(mask, pad, length + 1).sample(
        lambda rows: toy.decoder(masks, condition, layout=prefix_and_draft(length, torch.zeros_like(rows))),
        lambda tokens, rows: toy.decoder(tokens, condition.rows(rows), layout=left_to_right(tokens.shape[1], CPU)),
        masks,
    )
    own, prefix = objective(toy, own=1.0)._drafts(
        batch.x_0, condition, torch.rand(2, 32, generator=torch.Generator().manual_seed(0))
    )
    assert own.tolist() == greedy.tokens.tolist() and not torch.equal(own, batch.x_0)
    assert prefix.tolist() == [0] * 32
    half, prefix = objective(toy, own=0.5)._drafts(
        batch.x_0, condition, torch.rand(2, 32, generator=torch.Generator().manual_seed(0))
    )
    rows = (half == own).all(-1)
    assert 8 < rows.sum() < 24 and torch.equal(half[~rows], batch.x_0[~rows])
    assert not prefix[rows].any() and prefix[~rows].float().mean() > 3


@torch.no_grad()
def test_gaps_are_learnt_as_they_are_written(make_toy: Callable[..., Toy]) -> None:
    """The loss of masks is that of the logits that the writer fills them by."""
    toy = make_toy("speculative")
    built, mask = objective(toy), toy.tokenizer.mask_token_id
    batch = toy.batches[Task.INFILL].batch(0, 8)
    loss = built(batch, torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(4)
    t = stratified_times(8, generator, built.options.full_mask, built.options.noise_skew)
    x_t = built.process.q_sample(batch.x_0, t, generator, batch.open_positions)
    masked = x_t == mask
    guided = GuidedCondition(toy.decoder.condition(batch.condition), (1.0,))
    logits = SpeculativeWriter(toy.decoder, toy.tokenizer)._logits(guided, x_t, torch.arange(8), masked)
    expected = weighted_cross_entropy(logits[masked], batch.x_0[masked], batch.weights[masked])
    torch.testing.assert_close(loss.mean, expected.mean)
    assert masked.any() and not masked[~batch.open_positions].any()


def test_gradients_reach_the_decoder_through_what_it_wrote_before(make_toy: Callable[..., Toy]) -> None:
    """In bf16 too, where weights that were rounded without gradients must not be taken for those with."""
    toy = make_toy("speculative")
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(toy)(toy.batches[Task.CAPTION].batch(0, 4), torch.Generator().manual_seed(0)).mean
    loss.backward()  # type: ignore[no-untyped-call]
    blocks = dict(toy.decoder.blocks.named_parameters())
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in blocks.values())


@torch.no_grad()
@pytest.mark.parametrize("task", [Task.CAPTION, Task.INFILL])
def test_processes_that_share_a_batch_learn_what_one_would(make_toy: Callable[..., Toy], task: Task) -> None:
    """Each draws the noise of all rows and goes on with its own; where every row counts alike the sums add up."""
    toy = make_toy("speculative")
    built = objective(toy, draft_weight=0.0)
    toy.batches[task].condition_dropout = 0.0
    whole, *parts = (
        built(toy.batches[task].batch(0, 8, rows), torch.Generator().manual_seed(0))
        for rows in (slice(None), slice(0, None, 2), slice(1, None, 2))
    )
    torch.testing.assert_close(parts[0].sum + parts[1].sum, whole.sum)
    torch.testing.assert_close(parts[0].weight + parts[1].weight, whole.weight)


def test_options_of_other_processes_are_refused() -> None:
    """What only this process reads is not silently ignored by others."""
    with pytest.raises(ValidationError, match="speculative is for the process 'speculative', not for 'absorbing'"):
        TrainOptions(speculative=SpeculativeOptions(own=0.25))


def test_texts_and_their_starts_fit(make_toy: Callable[..., Toy]) -> None:
    """The longest canvas leaves a place for the start."""
    config = make_toy("speculative").decoder.config
    assert config.max_canvas == config.max_tokens - 1 and make_toy().decoder.config.max_canvas == config.max_tokens
    assert shifted(torch.zeros(1, config.max_canvas, dtype=torch.long), 1).shape[1] == config.max_tokens
