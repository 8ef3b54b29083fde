"""What a round of distillation minimises."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from multimodal.decoder import CrossAttentionDecoder
from multimodal.diffusion.distillation import SelfDistillation
from multimodal.diffusion.loss import LossOutput
from multimodal.diffusion.processes import Process
from multimodal.diffusion.schedule import stratified_times
from multimodal.errors import ConfigError
from multimodal.training.batches import TaskBatch
from multimodal.training.distillation.options import HalvingOptions
from multimodal.training.finetuning.start import load_start
from multimodal.training.lengths import with_lengths
from multimodal.training.options import TrainOptions


class DistillationObjective(nn.Module):
    """Noise a clean canvas to where one of the student's steps begins, and predict what the teacher says in that step.

    The masks are told what the teacher says step by step; visible tokens of the hybrid process, which may be wrong,
    what it says at once, so that a student corrects no worse than its teacher.

    Args:
        decoder: the student.
        teacher: stays as it is.
        process: of both.
        options: which times and canvases are seen.
        halving: how many steps become one.
    """

    def __init__(
        self,
        decoder: CrossAttentionDecoder,
        teacher: CrossAttentionDecoder,
        process: Process,
        options: TrainOptions,
        halving: HalvingOptions,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.teacher = teacher.eval().requires_grad_(False)
        self.process = process
        self.options = options
        confident = halving.trajectory == "confident"
        self.steps = SelfDistillation(process.mask_token_id, halving.num_steps, halving.teacher_steps, confident)

    def forward(self, batch: TaskBatch, generator: torch.Generator) -> LossOutput:
        """The loss of one batch; all noise comes from `generator`."""
        device = self.decoder.embedding.weight.device
        t = stratified_times(len(batch.x_0), generator, self.options.full_mask, self.options.noise_skew)
        t = self.steps.times(t)
        x_t = self.process.q_sample(batch.x_0, t, generator, batch.open_positions)
        t, x_t, generator, batch = t[batch.rows], x_t[batch.rows], batch.own_generator(generator), batch.own()
        scored = self.process.scored(x_t, batch.open_positions).to(device)
        x_t, given = x_t.to(device), batch.condition.to(device)
        with torch.no_grad():
            known = self.teacher.condition(given)

            def say(tokens: Tensor) -> Tensor:
                logits: Tensor = self.teacher(tokens, known)
                return logits

            targets = self.steps.targets(say, x_t, t.to(device), generator)[scored]
        condition = self.decoder.condition(given)
        said = self.steps.log_probs(self.decoder(x_t, condition, scored))
        loss = self.steps.loss(said, targets, batch.weights.to(device)[scored])
        return with_lengths(loss, condition, batch)


def build_distillation(
    decoder: CrossAttentionDecoder, process: Process, options: TrainOptions, halving: HalvingOptions
) -> DistillationObjective:
    """The objective of a student that starts as a copy of its teacher, `options.init_from`.

    Raises:
        ConfigError: the teacher was trained by another process, or the student is to learn what it does not know.
        CheckpointError: the teacher cannot be had.
    """
    source = str(options.init_from)
    teacher = load_start(source).decoder
    if teacher.config.process != options.process:
        raise ConfigError(f"the teacher {source} was trained by '{teacher.config.process}': set train.process to that")
    for what in ("tasks", "styles", "latent_sizes"):
        known = set(getattr(teacher.config, what))
        new = sorted(str(name) for name in set(getattr(decoder.config, what)) - known)
        if new:
            raise ConfigError(
                f"the teacher {source} does not know {', '.join(new)}, which the data holds; train it on them first "
                "(train.init_from), or leave them out (train.tasks)"
            )
    return DistillationObjective(decoder, teacher, process, options, halving)
