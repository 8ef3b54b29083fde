"""What is minimised, one task at a time: the loss of a diffusion process, or that of the next token."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from multimodal.decoder import Condition, CrossAttentionDecoder
from multimodal.diffusion.loss import LossOutput, confidence_loss, weighted_cross_entropy
from multimodal.diffusion.processes import HybridProcess, Process, build_process
from multimodal.diffusion.schedule import stratified_times
from multimodal.generation.autoregressive import sequences
from multimodal.generation.continuous import build_text_diffusion
from multimodal.tokenizer import TextTokenizer
from multimodal.training.batches import TaskBatch
from multimodal.training.continuous import ContinuousObjective
from multimodal.training.distillation.objective import build_distillation
from multimodal.training.edits import EditStream
from multimodal.training.lengths import with_lengths
from multimodal.training.options import TrainOptions


class DenoisingObjective(nn.Module):
    """Noise a clean canvas and predict it back.

    A module of its own so that whatever wraps it (mixed precision, data parallelism) wraps all of a step.

    Args:
        decoder: to be trained.
        process: turns canvases into noise.
        options: which times, masks and canvases it sees.
        edits: further wrong tokens; None: those of the process are all.
    """

    def __init__(
        self, decoder: CrossAttentionDecoder, process: Process, options: TrainOptions, edits: EditStream | None = None
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.process = process
        self.options = options
        self.edits = edits

    def forward(self, batch: TaskBatch, generator: torch.Generator) -> LossOutput:
        """The loss of one batch; all noise comes from `generator`."""
        batch = self._crop(batch, generator)
        t = stratified_times(len(batch.x_0), generator, self.options.full_mask, self.options.noise_skew)
        x_t = self.process.q_sample(batch.x_0, t, generator, batch.open_positions)
        t, x_t, generator, batch = t[batch.rows], x_t[batch.rows], self._for_edits(batch, generator), batch.own()
        condition = self.decoder.condition(batch.condition.to(self._device))
        loss = self._loss(batch, x_t, t, condition, generator)
        if self.options.complementary:
            masked = x_t == self.process.mask_token_id
            other = torch.where(batch.open_positions & ~masked, self.process.mask_token_id, batch.x_0)
            loss += self._loss(batch, other, 1 - t, condition, generator)
        return with_lengths(loss, condition, batch)

    def _loss(
        self, batch: TaskBatch, x_t: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> LossOutput:
        if self.edits is not None:
            x_t = self.edits.corrupt(x_t, batch.open_positions, condition, generator)
        scored = self.process.scored(x_t, batch.open_positions)
        logits = self.decoder(x_t.to(self._device), condition, scored.to(self._device))
        times = t[:, None].expand(x_t.shape)
        clean, noisy, when, weights = (part[scored].to(self._device) for part in (batch.x_0, x_t, times, batch.weights))
        loss = self.process.loss(logits, clean, noisy, when, weights)
        if self.options.confidence_loss:
            masked = noisy == self.process.mask_token_id
            doubt = confidence_loss(logits[masked], clean[masked], weights[masked]).mean
            loss = LossOutput(loss.sum + self.options.confidence_loss * doubt * loss.weight, loss.weight)
        return loss

    def _crop(self, batch: TaskBatch, generator: torch.Generator) -> TaskBatch:
        """Now and then a canvas of random length: lest text depends on one fixed length (LLaDA, Nie et al. 2025)."""
        if self.options.crops == 0 or torch.rand((), generator=generator) >= self.options.crops:
            return batch
        length = int(torch.randint(1, batch.x_0.shape[1] + 1, (), generator=generator))
        return replace(
            batch,
            x_0=batch.x_0[:, :length],
            open_positions=batch.open_positions[:, :length],
            weights=batch.weights[:, :length],
        )

    def _for_edits(self, batch: TaskBatch, generator: torch.Generator) -> torch.Generator:
        """How many numbers edits draw depends on the rows, which processes share out."""
        return generator if self.edits is None else batch.own_generator(generator)

    @property
    def _device(self) -> torch.device:
        return self.decoder.embedding.weight.device


class NextTokenObjective(nn.Module):
    """Predict each token from what is left of it: the autoregressive twin's objective.

    Args:
        decoder: causal, to be trained.
        mask_token_id, pad_token_id: start and end of a text, see `multimodal.generation.autoregressive`.
    """

    def __init__(self, decoder: CrossAttentionDecoder, mask_token_id: int, pad_token_id: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.mask_token_id, self.pad_token_id = mask_token_id, pad_token_id

    def forward(self, batch: TaskBatch, generator: torch.Generator) -> LossOutput:
        """The loss of one batch; no noise is drawn."""
        batch = batch.own()
        device = self.decoder.embedding.weight.device
        texts = sequences(batch.canvases, self.mask_token_id, self.pad_token_id)
        scored = texts.scored.to(device)
        condition = self.decoder.condition(batch.condition.to(device))
        logits = self.decoder(texts.inputs.to(device), condition, scored)
        loss = weighted_cross_entropy(logits, texts.targets.to(device)[scored])
        return with_lengths(loss, condition, batch)


def build_objective(decoder: CrossAttentionDecoder, tokenizer: TextTokenizer, options: TrainOptions) -> nn.Module:
    """What a decoder is trained by: causal ones by the next token, others by their process or by a teacher of it.

    Raises:
        ConfigError, CheckpointError: the teacher does not fit or cannot be had.
    """
    if decoder.config.continuous:
        diffusion = build_text_diffusion(decoder, tokenizer)
        return ContinuousObjective(decoder, diffusion, options.full_mask, options.continuous.self_conditioning)
    if decoder.config.causal:
        return NextTokenObjective(decoder, tokenizer.mask_token_id, tokenizer.pad_token_id)
    config, mask = decoder.config, tokenizer.mask_token_id
    process = build_process(config.process, mask, config.vocab_size, **config.process_options)
    if options.distill is not None:
        return build_distillation(decoder, process, options, options.distill)
    edits = None
    if isinstance(process, HybridProcess):
        edits = EditStream(decoder, mask, options.hybrid.confusable, options.hybrid.own)
    return DenoisingObjective(decoder, process, options, edits)
