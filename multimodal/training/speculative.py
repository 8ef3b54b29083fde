"""The objective of decoders that draft texts and read them left to right: both roles in one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from multimodal.decoder import Condition, CrossAttentionDecoder, TextCache, left_to_right, text_and_draft
from multimodal.diffusion.loss import LossOutput, weighted_cross_entropy
from multimodal.diffusion.processes import Process
from multimodal.diffusion.schedule import stratified_times
from multimodal.generation.autoregressive import AutoregressiveSampler
from multimodal.generation.speculative import said_before, shifted, until_end
from multimodal.training.batches import TaskBatch
from multimodal.training.lengths import with_lengths
from multimodal.training.options import TrainOptions


class SpeculativeObjective(nn.Module):
    """Predict each token of a text from what is left of it, and in the same pass all of them from nothing but the
    condition; fill gaps as masked diffusion does.

    Args:
        decoder: to be trained.
        process: of gaps.
        pad_token_id: ends a text.
        options: how the roles share the loss, and which times and masks gaps see.

    Attributes:
        share_done: of the training, 0 to 1; its loop says so before each step.
    """

    share_done: float = 1.0

    def __init__(
        self, decoder: CrossAttentionDecoder, process: Process, pad_token_id: int, options: TrainOptions
    ) -> None:
        super().__init__()
        self.decoder, self.process, self.options = decoder, process, options
        self.mask_token_id, self.pad_token_id = process.mask_token_id, pad_token_id

    def forward(self, batch: TaskBatch, generator: torch.Generator) -> LossOutput:
        """The loss of one batch; all noise comes from `generator`."""
        condition = self.decoder.condition(batch.condition.to(self._device))
        gapped = any(canvas.gaps for canvas in batch.canvases)
        loss = self._gaps(batch, condition, generator) if gapped else self._texts(batch, condition, generator)
        return with_lengths(loss, condition, batch.own())

    def _texts(self, batch: TaskBatch, condition: Condition, generator: torch.Generator) -> LossOutput:
        chance = torch.rand(2, len(batch.x_0), generator=generator)[:, batch.rows].to(self._device)
        x_0 = batch.own().x_0.to(self._device)
        read = until_end(x_0, self.pad_token_id)
        before = shifted(x_0[:, :-1], self.mask_token_id)
        length = x_0.shape[1]
        if self.share_done < self.options.speculative.draft_from:
            logits = self.decoder(before, condition, read, layout=left_to_right(length, self._device))
            return weighted_cross_entropy(logits, x_0[read])
        wanted, prefix = self._drafts(x_0, condition, chance)
        slots = torch.full_like(x_0[:, 1:], self.mask_token_id)
        tokens = torch.cat([before, slots], 1)
        targets = torch.cat([x_0, wanted[:, 1:]], 1)
        behind = torch.arange(1, length, device=self._device) > prefix[:, None]
        scored = torch.cat([read, until_end(wanted, self.pad_token_id)[:, 1:] & behind], 1)
        drafted = torch.zeros_like(scored)
        drafted[:, length:] = True
        logits = self.decoder(tokens, condition, scored, layout=text_and_draft(length, prefix))
        targets, drafted = targets[scored], drafted[scored]
        next_token = weighted_cross_entropy(logits[~drafted], targets[~drafted])
        draft = weighted_cross_entropy(logits[drafted], targets[drafted]).mean
        weight = self.options.speculative.draft_weight
        return LossOutput(next_token.sum + weight * draft * next_token.weight, next_token.weight)

    @torch.no_grad()
    def _drafts(self, x_0: Tensor, condition: Condition, chance: Tensor) -> tuple[Tensor, Tensor]:
        """What drafts are to be, int64 [batch, length], and how much of it they see, int64 [batch]: some tokens of the
        texts, or nothing of what the decoder writes by itself; `chance`, float [2, batch], says which."""
        own = chance[0] < self.options.speculative.own
        ends = until_end(x_0, self.pad_token_id).sum(-1)
        prefix = torch.where(own, 0, (chance[1] * ends).long())
        rows = own.nonzero().squeeze(-1)
        if not len(rows):
            return x_0, prefix
        length, seen = x_0.shape[1], condition.rows(rows)
        sampler = AutoregressiveSampler(self.mask_token_id, self.pad_token_id, length)

        def next_token(tokens: Tensor, index: Tensor, past: TextCache) -> Tensor:
            logits: Tensor = self.decoder(tokens, seen.rows(index), past=past)
            return logits[:, -1]

        cache = TextCache.empty(self.decoder.config, len(rows), length, condition.keys[0])
        starts = torch.full((len(rows), 1), self.mask_token_id, device=x_0.device)
        written = sampler.sample(next_token, starts, [1] * len(rows), cache)
        wanted = x_0.clone()
        wanted[rows] = self.pad_token_id
        for row, text in zip(rows.tolist(), written, strict=True):
            wanted[row, : len(text.tokens)] = torch.tensor(text.tokens, device=x_0.device)
        return wanted, prefix

    def _gaps(self, batch: TaskBatch, condition: Condition, generator: torch.Generator) -> LossOutput:
        t = stratified_times(len(batch.x_0), generator, self.options.full_mask, self.options.noise_skew)
        x_t = self.process.q_sample(batch.x_0, t, generator, batch.open_positions)
        t, x_t, batch = t[batch.rows], x_t[batch.rows], batch.own()
        scored = self.process.scored(x_t, batch.open_positions)
        tokens = shifted(x_t, self.mask_token_id).to(self._device)
        logits = self.decoder(tokens, condition, said_before(scored).to(self._device))
        times = t[:, None].expand(x_t.shape)
        clean, noisy, when, weights = (part[scored].to(self._device) for part in (batch.x_0, x_t, times, batch.weights))
        return self.process.loss(logits, clean, noisy, when, weights)

    @property
    def _device(self) -> torch.device:
        return self.decoder.embedding.weight.device
