"""What continuous diffusion minimises: the loss of clean text, read from noisy vectors at a random noise level."""

from __future__ import annotations

import torch
from torch import nn

from multimodal.decoder import CrossAttentionDecoder, NoisyText
from multimodal.diffusion.continuous.randomness import SharedRandomness
from multimodal.diffusion.continuous.text import Corrupted, TextDiffusion
from multimodal.diffusion.loss import LossOutput
from multimodal.diffusion.schedule import stratified_times
from multimodal.training.batches import TaskBatch


class ContinuousObjective(nn.Module):
    """Noise a clean canvas and predict it back, at times with an estimate of it at hand.

    Args:
        decoder: to be trained.
        diffusion: the process that it is trained for.
        full_noise: share of rows that are nothing but noise: sampling starts there.
        self_conditioning: share of steps in which the decoder is given the estimate of a first call, through which no
            gradient flows (Chen et al. 2022).
    """

    def __init__(
        self, decoder: CrossAttentionDecoder, diffusion: TextDiffusion, full_noise: float, self_conditioning: float
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.diffusion = diffusion
        self.full_noise = full_noise
        self.self_conditioning = self_conditioning

    def forward(self, batch: TaskBatch, generator: torch.Generator) -> LossOutput:
        """The loss of one batch; all noise comes from `generator`."""
        device = self.decoder.embedding.weight.device
        t = stratified_times(len(batch.x_0), generator, self.full_noise)
        twice = torch.rand((), generator=generator).item() < self.self_conditioning
        x_0, weights = batch.x_0.to(device), batch.weights.to(device)
        noisy = self.diffusion.corrupt(x_0, t.to(device), batch.open_positions.to(device), SharedRandomness(generator))
        rows = batch.rows
        x_0, weights = x_0[rows], weights[rows]
        noisy = Corrupted(noisy.vectors[rows], noisy.noise[rows], noisy.learnt[rows])
        condition = self.decoder.condition(batch.condition.to(device))
        estimate = None
        if twice:
            with torch.no_grad():
                first = self.decoder(NoisyText(noisy.vectors, None, noisy.noise), condition)
                estimate = self.diffusion.read(first).estimate
        output = self.decoder(NoisyText(noisy.vectors, estimate, noisy.noise), condition, noisy.learnt)
        return self.diffusion.loss(output, x_0[noisy.learnt], weights[noisy.learnt])
