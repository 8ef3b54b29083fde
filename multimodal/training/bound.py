"""The likelihood bound of val texts: what the decoder's process promises, beside what its sampler writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multimodal.dataset import Dataset
from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.diffusion.loss import LossOutput
from multimodal.diffusion.processes import build_process
from multimodal.generation.speculative import said_before, shifted
from multimodal.latents import LatentStore, is_encoded
from multimodal.sample import Modality, Split, Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.batches import TaskBatches, fitting
from multimodal.training.objective import NextTokenObjective

DRAWS = 4
"""Times and noises per text."""

EDGE = 1e-4
"""Draws stay so far from 0 and 1, where weights are infinite."""


@dataclass(frozen=True)
class ValBound:
    """Mean negative log-likelihood of texts in nats per token, the end token included: for a diffusion decoder an
    upper bound by low-discrepancy times (MDLM, Sahoo et al. 2024), for an autoregressive one exact.

    Numbers of one tokenizer can be compared across processes. What is scored is the whole canvas, its padding
    included, divided by the tokens of the text. The noise is the same in each call.

    Args:
        batches: task -> its val samples, without condition dropout.
        tokenizer: of the decoder.
    """

    batches: Mapping[Task, TaskBatches]
    tokenizer: TextTokenizer

    @classmethod
    def choose(
        cls,
        dataset: Dataset,
        stores: Mapping[Modality, LatentStore],
        tokenizer: TextTokenizer,
        config: DecoderConfig,
        canvas: Mapping[str, int],
        max_samples: int,
    ) -> ValBound:
        """The first `max_samples` val samples per task by sample id whose texts fit on the canvas."""
        batches = {}
        for task in map(Task, config.tasks):
            store = None if task is Task.INFILL else stores.get(task.modality)
            if store is None and task is not Task.INFILL:
                continue  # learnt before, from data that this training does not have
            samples = sorted(dataset.samples(split=Split.VAL, task=task), key=lambda sample: sample.sample_id)
            known = [sample for sample in samples if is_encoded(sample, stores)]
            chosen = fitting({task: known}, tokenizer, canvas[task])[0][task][:max_samples]
            if chosen:
                batches[task] = TaskBatches(
                    task, chosen, tokenizer, store, config, canvas[task], 0.0, 0, stores.get(Modality.IMAGE)
                )
        return cls(batches, tokenizer)

    @torch.no_grad()
    def __call__(self, decoder: CrossAttentionDecoder) -> dict[str, float]:
        """`val/bound`, over the texts of all tasks; nothing where there are no texts."""
        if not self.batches:
            return {}
        losses = [
            self._exact(decoder, batches) if _left_to_right(decoder.config, task) else self._bound(decoder, batches)
            for task, batches in self.batches.items()
        ]
        return {"val/bound": float(sum(loss.sum for loss in losses) / sum(loss.weight for loss in losses))}

    def _exact(self, decoder: CrossAttentionDecoder, batches: TaskBatches) -> LossOutput:
        objective = NextTokenObjective(decoder, self.tokenizer.mask_token_id, self.tokenizer.pad_token_id)
        batch = replace(batches.batch(0, len(batches.samples)), lengths=None)  # likelihood alone, not what trains
        loss: LossOutput = objective(batch, torch.Generator())
        return loss

    def _bound(self, decoder: CrossAttentionDecoder, batches: TaskBatches) -> LossOutput:
        config, generator = decoder.config, torch.Generator().manual_seed(0)
        process = build_process(
            config.process, self.tokenizer.mask_token_id, config.vocab_size, **config.process_options
        )
        batch = batches.batch(0, len(batches.samples))
        device = decoder.embedding.weight.device
        condition = decoder.condition(batch.condition.to(device))
        total = torch.zeros((), dtype=torch.float64)
        for place in low_discrepancy(DRAWS, len(batch.x_0), generator):
            t, density = place**2, 2 * place  # more draws near t = 0, where few positions carry large weights
            x_t = process.q_sample(batch.x_0, t, generator, batch.open_positions)
            scored = process.scored(x_t, batch.open_positions)
            tokens, positions = x_t.to(device), scored.to(device)
            if config.process == "speculative":
                tokens, positions = shifted(tokens, process.mask_token_id), said_before(positions)
            logits = decoder(tokens, condition, positions).cpu()
            times, densities = (part[:, None].expand(x_t.shape)[scored] for part in (t, density))
            nats = process.likelihood_bound(logits, batch.x_0[scored], x_t[scored], times)
            total += (nats * densities).sum() / DRAWS
        tokens = (batch.open_positions & (batch.weights == 1)).sum()  # later padding says nothing new
        return LossOutput(total, tokens)


def _left_to_right(config: DecoderConfig, task: Task) -> bool:
    return config.causal or (config.process == "speculative" and task is not Task.INFILL)


def low_discrepancy(draws: int, batch: int, generator: torch.Generator) -> Tensor:
    """Places in (0, 1), float [draws, batch], evenly spaced over all draws and rows from one random offset: each row
    sees early and late ones (Kingma et al. 2021)."""
    order = torch.arange(draws)[:, None] * batch + torch.arange(batch)
    places = (order / (draws * batch) + torch.rand((), generator=generator)) % 1
    return places.clamp(EDGE, 1 - EDGE)
