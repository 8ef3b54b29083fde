"""Optimisers and the learning rate's schedule."""

import pytest
import torch
from torch import nn

from multimodal.optimizer import MUON_RATE, build_optimizers, set_learning_rate, warmup_cosine


def test_learning_rate_warms_up_and_falls() -> None:
    """Linear to the peak, then down to the floor at the end."""
    assert warmup_cosine(0, 10, 0.0) == pytest.approx(0.1)
    assert warmup_cosine(10, 10, 0.0) == pytest.approx(1.0)
    assert warmup_cosine(1000, 10, 1.0) == pytest.approx(0.01)
    assert warmup_cosine(1000, 10, 0.5, floor=0) == pytest.approx(0.5)


def model() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"embedding": nn.Embedding(5, 4), "blocks": nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))})


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_every_parameter_has_one_optimizer(name: str) -> None:
    """None is left out, none is trained twice."""
    net = model()
    optimizers = build_optimizers(net, net["blocks"], name, 0.1)  # type: ignore[arg-type]
    owned = [p for one in optimizers for group in one.param_groups for p in group["params"]]
    assert sorted(map(id, owned)) == sorted(map(id, net.parameters()))
    assert [type(one).__name__ for one in optimizers] == (["AdamW", "Muon"] if name == "muon" else ["AdamW"])


def test_only_matrices_decay() -> None:
    """With zero gradients, decoupled weight decay shrinks matrices and leaves biases."""

    def decay(name: str, p: torch.Tensor) -> float:
        rate = 0.1 * MUON_RATE if name.startswith("blocks") else 0.1
        return 0.5 * rate if p.ndim >= 2 else 0.0

    net = model()
    optimizers = build_optimizers(net, net["blocks"], "muon", 0.5)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    set_learning_rate(optimizers, 0.1)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    for one in optimizers:
        one.step()
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (1 - decay(name, p)))


def test_muon_steps_have_the_size_of_adamw() -> None:
    """Root mean square of a Muon update is about 0.2 of its learning rate, whatever the gradient's size."""
    weight = nn.Linear(64, 128, bias=False)
    for scale in (1e-4, 1e2):
        adamw, muon = build_optimizers(weight, weight, "muon", 0.0)
        set_learning_rate([adamw, muon], 1e-2 / MUON_RATE)
        before = weight.weight.detach().clone()
        weight.weight.grad = torch.randn(128, 64) * scale
        muon.step()
        size = (weight.weight.detach() - before).square().mean().sqrt().item()
        assert 0.1e-2 < size < 0.3e-2
