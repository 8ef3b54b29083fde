"""What is minimised, one task at a time: masked cross-entropy at a random noise level, or that of the next token."""

from __future__ import annotations

import torch
from torch import nn

from multimodal.decoder import CrossAttentionDecoder
from multimodal.diffusion.loss import LossOutput, masked_cross_entropy
from multimodal.diffusion.process import AbsorbingProcess
from multimodal.diffusion.schedule import stratified_times
from multimodal.generation.autoregressive import sequences
from multimodal.generation.continuous import build_text_diffusion
from multimodal.tokenizer import TextTokenizer
from multimodal.training.batches import TaskBatch
from multimodal.training.continuous import ContinuousObjective
from multimodal.training.options import TrainOptions


class DenoisingObjective(nn.Module):
    """Noise a clean canvas and predict it back.

    A module of its own so that whatever wraps it (mixed precision, data parallelism) wraps all of a step.

    Args:
        decoder: to be trained.
        process: corrupts canvases.
        full_mask: share of rows that are wholly masked: sampling starts there, and most errors are made there
            (high-mask specialisation, Whisfusion v2).
    """

    def __init__(self, decoder: CrossAttentionDecoder, process: AbsorbingProcess, full_mask: float) -> None:
        super().__init__()
        self.decoder = decoder
        self.process = process
        self.full_mask = full_mask

    def forward(self, batch: TaskBatch, generator: torch.Generator) -> LossOutput:
        """The loss of one batch; all noise comes from `generator`."""
        t = stratified_times(len(batch.x_0), generator, self.full_mask)
        x_t = self.process.q_sample(batch.x_0, t, generator, batch.open_positions)
        device = self.decoder.embedding.weight.device
        x_t, x_0, weights = x_t.to(device), batch.x_0.to(device), batch.weights.to(device)
        condition = self.decoder.condition(batch.condition.to(device))
        masked = x_t == self.process.mask_token_id
        return masked_cross_entropy(self.decoder(x_t, condition, masked), x_0[masked], weights[masked])


class NextTokenObjective(nn.Module):
    """Predict each token from what is left of it: the autoregressive twin's objective.

    Args:
        decoder: causal, to be trained.
        mask_token_id, pad_token_id: start and end of a text, see `multimodal.autoregressive`.
    """

    def __init__(self, decoder: CrossAttentionDecoder, mask_token_id: int, pad_token_id: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.mask_token_id, self.pad_token_id = mask_token_id, pad_token_id

    def forward(self, batch: TaskBatch, generator: torch.Generator) -> LossOutput:
        """The loss of one batch; no noise is drawn."""
        device = self.decoder.embedding.weight.device
        texts = sequences(batch.canvases, self.mask_token_id, self.pad_token_id)
        scored = texts.scored.to(device)
        condition = self.decoder.condition(batch.condition.to(device))
        logits = self.decoder(texts.inputs.to(device), condition, scored)
        return masked_cross_entropy(logits, texts.targets.to(device)[scored])


def build_objective(decoder: CrossAttentionDecoder, tokenizer: TextTokenizer, options: TrainOptions) -> nn.Module:
    """What a decoder is trained by: causal ones by the next token, others by denoising of vectors or of tokens."""
    if decoder.config.continuous:
        diffusion = build_text_diffusion(decoder, tokenizer)
        return ContinuousObjective(decoder, diffusion, options.full_mask, options.continuous.self_conditioning)
    if decoder.config.causal:
        return NextTokenObjective(decoder, tokenizer.mask_token_id, tokenizer.pad_token_id)
    return DenoisingObjective(decoder, AbsorbingProcess(tokenizer.mask_token_id), options.full_mask)
