"""What a decoder sees and is scored on in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from multimodal.decoder import Condition
from multimodal.diffusion.loss import LossOutput, confidence_loss
from multimodal.diffusion.processes import AbsorbingProcess
from multimodal.sample import Task
from multimodal.training.lengths import with_lengths
from multimodal.training.objective import DenoisingObjective, build_objective
from multimodal.training.options import HybridOptions, TrainOptions
from tests.training.conftest import Toy

MASK = 1


class Recorder(AbsorbingProcess):
    """The absorbing process that remembers what its loss was asked about."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__(MASK, vocab_size)
        self.seen: list[Tensor] = []
        self.scored_positions: list[Tensor] = []
        self.times: list[Tensor] = []

    def scored(self, x_t: Tensor, open_positions: Tensor) -> Tensor:
        self.seen.append(x_t)
        self.scored_positions.append(super().scored(x_t, open_positions))
        return self.scored_positions[-1]

    def q_sample(self, x_0: Tensor, t: Tensor, *rest: object) -> Tensor:
        self.times.append(t)
        return super().q_sample(x_0, t, *rest)  # type: ignore[arg-type]


def record(toy: Toy, options: TrainOptions, size: int = 16, task: Task = Task.CAPTION) -> tuple[Recorder, LossOutput]:
    process = Recorder(toy.decoder.config.vocab_size)
    objective = DenoisingObjective(toy.decoder.eval(), process, options)
    loss = objective(toy.batches[task].batch(0, size), torch.Generator().manual_seed(0))
    return process, loss


def test_skew_moves_times_towards_one(make_toy: Callable[..., Toy]) -> None:
    """t = 1 - u^k of uniform u has mean k / (k + 1); some rows are all noise."""
    toy = make_toy()
    for skew in (1.0, 3.0):
        process, _ = record(toy, TrainOptions(noise_skew=skew, full_mask=0.0), 64)
        assert process.times[0].mean().item() == pytest.approx(skew / (skew + 1), abs=0.02)
    process, _ = record(toy, TrainOptions(full_mask=0.5), 64)
    assert 20 < (process.times[0] == 1).sum() < 44


@pytest.mark.parametrize("task", [Task.CAPTION, Task.INFILL])
def test_complements_cover_each_open_position_once(make_toy: Callable[..., Toy], task: Task) -> None:
    """What one view masks the other shows: together every open position is predicted once, nothing else ever."""
    toy = make_toy()
    process, loss = record(toy, TrainOptions(complementary=True), task=task)
    first, second = process.scored_positions
    batch = toy.batches[task].batch(0, 16)
    assert not (first & second).any() and torch.equal(first | second, batch.open_positions)
    assert torch.equal(process.seen[1][first], batch.x_0[first])
    torch.testing.assert_close(loss.weight, batch.weights[batch.open_positions].sum())


def test_crops_cut_canvases(make_toy: Callable[..., Toy]) -> None:
    """With a share of 1 every batch has a length of its own, never beyond the canvas; with 0 none is cut."""
    toy = make_toy()
    process = Recorder(toy.decoder.config.vocab_size)
    objective = DenoisingObjective(toy.decoder.eval(), process, TrainOptions(crops=1.0, full_mask=1.0))
    batch = toy.batches[Task.CAPTION].batch(0, 4)
    for seed in range(30):
        assert objective(batch, torch.Generator().manual_seed(seed)).mean.isfinite()
    lengths = {canvas.shape[1] for canvas in process.seen}
    assert len(lengths) > 8 and min(lengths) >= 1 and max(lengths) <= batch.x_0.shape[1]
    assert record(toy, TrainOptions(), 4)[0].seen[0].shape == batch.x_0.shape


@pytest.mark.parametrize("process", ["absorbing", "uniform", "hybrid"])
def test_a_loss_depends_on_its_generator_alone(make_toy: Callable[..., Toy], process: str) -> None:
    """Equal seeds give equal losses, other seeds others; gradients reach the decoder."""
    toy = make_toy(process)
    objective = build_objective(toy.decoder.eval(), toy.tokenizer, TrainOptions(process=process))
    batch = toy.batches[Task.INFILL].batch(0, 8)
    losses = [objective(batch, torch.Generator().manual_seed(seed)).mean for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    losses[0].backward()
    assert toy.decoder.embedding.weight.grad is not None
    assert toy.decoder.embedding.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"process": "uniform", "complementary": True}, "complementary masks need masks"),
        ({"process": "absorbing", "hybrid": HybridOptions(own=0.2)}, "hybrid is for the process 'hybrid'"),
        ({"process": "uniform", "confidence_loss": 0.1}, "confidence_loss is for masks"),
    ],
)
def test_options_of_another_process_are_refused(values: dict[str, object], problem: str) -> None:
    """Nothing is silently ignored."""
    with pytest.raises(ValidationError, match=problem):
        TrainOptions.model_validate(values)


def learn_a_little(toy: Toy, options: TrainOptions) -> None:
    """Some steps, after which words that all texts share are right."""
    objective = build_objective(toy.decoder, toy.tokenizer, options)
    optimizer = torch.optim.AdamW(toy.decoder.parameters(), 5e-3)
    for step in range(10):
        objective(toy.batches[Task.CAPTION].batch(step, 16), torch.Generator().manual_seed(step)).mean.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("process", ["absorbing", "hybrid"])
def test_doubt_of_masks_is_added(make_toy: Callable[..., Toy], process: str) -> None:
    """The loss grows by the option times the entropy of right masks, in proportion; visible tokens have no part."""
    toy = make_toy(process)
    batch = toy.batches[Task.CAPTION].batch(0, 16)
    learn_a_little(toy, TrainOptions(process=process))
    losses, seen = [], []
    for weight in (0.0, 0.5, 1.0):
        options = TrainOptions(process=process, confidence_loss=weight)
        objective = build_objective(toy.decoder.eval(), toy.tokenizer, options)
        assert isinstance(objective, DenoisingObjective)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "multimodal.training.objective.confidence_loss",
                lambda logits, x_0, weights: seen.append(len(x_0)) or confidence_loss(logits, x_0, weights),
            )
            losses.append(objective(batch, torch.Generator().manual_seed(0)).mean)
    assert losses[1] > losses[0]
    torch.testing.assert_close(losses[2] - losses[0], 2 * (losses[1] - losses[0]), rtol=1e-3, atol=1e-5)
    assert len(seen) == 2 and 0 < seen[0] < batch.x_0.numel()


def test_hybrid_sees_edits(make_toy: Callable[..., Toy]) -> None:
    """Its objective has an edit stream with the shares of the options; the others have none."""
    toy = make_toy("hybrid")
    options = TrainOptions(process="hybrid", hybrid=HybridOptions(confusable=0.2, own=0.3))
    objective = build_objective(toy.decoder, toy.tokenizer, options)
    assert isinstance(objective, DenoisingObjective) and objective.edits is not None
    assert (objective.edits.confusable, objective.edits.own) == (0.2, 0.3)
    plain = build_objective(make_toy().decoder, toy.tokenizer, TrainOptions())
    assert isinstance(plain, DenoisingObjective) and plain.edits is None


def test_latents_learn_how_many_tokens_they_stand_for(make_toy: Callable[..., Toy]) -> None:
    """The mean relative error of the predicted lengths is added to the mean loss, where the text's length is known."""
    batch = make_toy().batches[Task.CAPTION].batch(0, 2)
    lengths = torch.tensor([4.0, 12.0], requires_grad=True)
    condition = Condition((), (), torch.zeros(2, 1, 1, 1), lengths=lengths)
    loss = LossOutput(torch.tensor(30.0), torch.tensor(10.0))
    assert with_lengths(loss, condition, batch).mean == 3.0
    known = replace(batch, lengths=torch.tensor([8.0, 10.0]))
    added = with_lengths(loss, condition, known).mean - 3.0
    assert added > 0
    (gradient,) = torch.autograd.grad(added, lengths)
    assert gradient[0] < 0 < gradient[1]
    twice = with_lengths(loss, replace(condition, lengths=torch.tensor([0.0, 14.0])), known).mean - 3.0
    torch.testing.assert_close(twice, 2 * added.detach())
