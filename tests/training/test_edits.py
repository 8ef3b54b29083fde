"""The edit stream."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from multimodal.decoder import Condition
from multimodal.sample import Task
from multimodal.training.edits import NEIGHBOURS, EditStream
from tests.training.conftest import Toy

MASK = 1


@pytest.fixture
def scene(make_toy: Callable[..., Toy]) -> tuple[Toy, Tensor, Tensor, Condition]:
    """A toy with a canvas of infills, half of whose open positions are masks."""
    toy = make_toy("hybrid")
    toy.decoder.eval()
    batch = toy.batches[Task.INFILL].batch(0, 64)
    masked = batch.open_positions & (torch.rand(batch.x_0.shape, generator=torch.Generator().manual_seed(1)) < 0.5)
    x_t = torch.where(masked, MASK, batch.x_0)
    return toy, x_t, batch.open_positions, toy.decoder.condition(batch.condition)


def test_each_stream_takes_its_share(scene: tuple[Toy, Tensor, Tensor, Condition]) -> None:
    """Of visible open positions and of masks; given words are never touched, masks never drawn."""
    toy, x_t, open_positions, condition = scene
    stream = EditStream(toy.decoder, MASK, confusable=0.3, own=0.2)
    corrupted = stream.corrupt(x_t, open_positions, condition, torch.Generator().manual_seed(0))
    masked, visible = x_t == MASK, open_positions & (x_t != MASK)
    assert (corrupted[masked] != MASK).float().mean().item() == pytest.approx(0.2, abs=0.05)
    assert (corrupted[visible] != x_t[visible]).float().mean().item() == pytest.approx(0.3, abs=0.05)
    assert torch.equal(corrupted[~open_positions], x_t[~open_positions])
    assert not (corrupted[visible] == MASK).any()


def test_off_means_off(scene: tuple[Toy, Tensor, Tensor, Condition]) -> None:
    """Shares of zero change nothing."""
    toy, x_t, open_positions, condition = scene
    stream = EditStream(toy.decoder, MASK, confusable=0.0, own=0.0)
    assert torch.equal(stream.corrupt(x_t, open_positions, condition, torch.Generator().manual_seed(0)), x_t)


def test_confusable_tokens_are_near(scene: tuple[Toy, Tensor, Tensor, Condition]) -> None:
    """Each is among its token's nearest by cosine, and never the token itself."""
    toy, x_t, open_positions, condition = scene
    stream = EditStream(toy.decoder, MASK, confusable=1.0, own=0.0)
    corrupted = stream.corrupt(x_t, open_positions, condition, torch.Generator().manual_seed(0))
    embedding = torch.nn.functional.normalize(toy.decoder.embedding.weight.detach(), dim=-1)
    for before, after in zip(
        x_t[corrupted != x_t][:40].tolist(), corrupted[corrupted != x_t][:40].tolist(), strict=True
    ):
        likeness = embedding @ embedding[before]
        likeness[[before, MASK]] = -2.0
        assert after in likeness.topk(NEIGHBOURS).indices


def test_own_tokens_follow_the_decoder(scene: tuple[Toy, Tensor, Tensor, Condition]) -> None:
    """Drawn from the softmax of its logits where the masks are: their mean surprise is the entropy there."""
    toy, x_t, open_positions, condition = scene
    with torch.no_grad():
        toy.decoder.embedding.weight.mul_(15)
        logs = toy.decoder(x_t, condition).index_fill(-1, torch.tensor(MASK), -torch.inf).log_softmax(-1)
    masked = x_t == MASK
    stream = EditStream(toy.decoder, MASK, confusable=0.0, own=1.0)
    surprises = []
    for seed in range(20):
        own = stream.corrupt(x_t, open_positions, condition, torch.Generator().manual_seed(seed))
        surprises.append(-logs.gather(-1, own[..., None]).squeeze(-1)[masked].mean())
    entropy = torch.special.entr(logs.exp()).sum(-1)[masked].mean()
    assert torch.stack(surprises).mean().item() == pytest.approx(entropy.item(), rel=0.05)
