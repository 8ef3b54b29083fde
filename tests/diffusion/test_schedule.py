"""Noise schedules."""

import pytest
import torch

from multimodal.diffusion.schedule import SCHEDULES, Schedule


@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=list(SCHEDULES))
class TestSchedule:
    def test_text_is_clean_at_0_and_gone_at_1(self, schedule: Schedule) -> None:
        """alpha(0) = 1 and alpha(1) = 0."""
        alpha = schedule(torch.tensor([0.0, 1.0], dtype=torch.float64)).alpha
        torch.testing.assert_close(alpha, torch.tensor([1.0, 0.0], dtype=torch.float64))

    def test_derivative_equals_autograd(self, schedule: Schedule) -> None:
        """d_alpha is the derivative of alpha."""
        t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
        output = schedule(t)
        (expected,) = torch.autograd.grad(output.alpha.sum(), t)
        torch.testing.assert_close(output.d_alpha.detach(), expected)

    def test_falls_monotonically(self, schedule: Schedule) -> None:
        """More time never makes text cleaner."""
        alpha = schedule(torch.linspace(0, 1, 100)).alpha
        assert (alpha.diff() < 0).all()
