"""What can be said about the tokenizer, the decoder, its training and its sampling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from multimodal.diffusion.presets import with_preset
from multimodal.options import Options
from multimodal.sample import Modality, Task
from multimodal.training.distillation.options import HalvingOptions
from multimodal.training.finetuning.options import LoraOptions, Part, RehearseOptions


class TokenizerOptions(Options):
    """A byte-level BPE tokenizer, trained on the texts of the train split.

    Args:
        vocab_size: entries, special tokens and the 256 bytes included.
        max_tokens: longest text in tokens, end token included: the size of the decoder's canvas.
    """

    vocab_size: int = Field(default=1024, ge=300)
    max_tokens: int = Field(default=40, ge=4)


SIZES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 128, "num_layers": 6, "num_heads": 4},
    "small": {"hidden_size": 256, "num_layers": 8, "num_heads": 8},
    "base": {"hidden_size": 512, "num_layers": 12, "num_heads": 8},
    "large": {"hidden_size": 1024, "num_layers": 16, "num_heads": 16},
}
"""About 2, 10, 60 and 300 million parameters with a vocabulary of a thousand."""


class DecoderOptions(Options):
    """Shape of the cross-attention decoder.

    Args:
        size: preset of hidden_size, num_layers and num_heads, see `SIZES`; values given beside it win.
        norm: `layer`, or `rms`, which is slower on a CPU (conf/LOG.md).
        resample: modality -> number of learned queries that read its latents in the decoder's stead (Perceiver).
        downsample: modality -> how many neighbouring latents are joined to one; for sound and text.
        drafts: tasks that are given, beside the latents, the tokens of a text to be edited, and copy out of it: the
            input of denoise and restyle, what the encoder reads by itself for others (transcripts by CTC), for caption
            that of the train picture most like it, which the model then carries with it. It pays where words are rare
            or long, and costs where most of the draft is wrong (conf/LOG.md).
        draft_layers: of the encoder that reads drafts.
        max_draft: longest such text in tokens.
    """

    size: Literal["tiny", "small", "base", "large"] | None = None
    hidden_size: int = Field(default=192, ge=16)
    num_layers: int = Field(default=4, ge=1)
    num_heads: int = Field(default=6, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    drafts: tuple[Task, ...] = (Task.TRANSCRIBE, Task.DENOISE, Task.RESTYLE)
    draft_layers: int = Field(default=2, ge=0)
    max_draft: int = Field(default=64, ge=2)
    norm: Literal["layer", "rms"] = "layer"
    resample: dict[Modality, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    downsample: dict[Modality, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_size(cls, values: Any) -> Any:
        size = SIZES.get(str(values.get("size"))) if isinstance(values, Mapping) else None
        return {**size, **values} if size else values

    @model_validator(mode="after")
    def _pictures_are_no_row(self) -> DecoderOptions:
        if Modality.IMAGE in self.downsample:
            raise ValueError("a picture's latents lie on a grid, not in a row: set decoder.resample.image instead")
        return self


class HybridOptions(Options):
    """What the hybrid process adds to masks: visible tokens that are wrong, and are to be corrected.

    Args:
        replaced: share of tokens that the process replaces by any word, where that is highest.
        confusable: share of visible right tokens that are replaced by one of the nearest in the embedding.
        own: share of masks that are filled with what the decoder itself draws there.
        edit_weight: loss of visible tokens beside that of masks.
        keep_weight: loss of visible tokens that are right beside that of wrong ones.
    """

    replaced: float = Field(default=0.1, ge=0, le=0.5)
    confusable: float = Field(default=0.03, ge=0, le=1)
    own: float = Field(default=0.1, ge=0, le=1)
    edit_weight: float = Field(default=0.5, ge=0)
    keep_weight: float = Field(default=0.1, ge=0)


class ContinuousOptions(Options):
    """How continuous processes are trained.

    Args:
        embedding_size: gaussian: width of the embeddings that noise is added to.
        sde: gaussian: `vp`, variance-preserving (DDPM), or `ve`, variance-exploding (NCSN).
        objective: gaussian: `cross_entropy` of the tokens (CDCD), or `mse` of their embeddings, which are rounded to
            tokens (Diffusion-LM) and cannot be copied out of a draft.
        block_size: simplex: positions that are written at once (SSD-LM).
        simplex_scale: simplex: a token is this at its own place and minus this at all others.
        self_conditioning: share of steps in which the decoder is given an estimate of the text.
    """

    embedding_size: int = Field(default=64, ge=2)
    sde: Literal["vp", "ve"] = "vp"
    objective: Literal["cross_entropy", "mse"] = "cross_entropy"
    block_size: int = Field(default=25, ge=1)
    simplex_scale: float = Field(default=5.0, gt=0)
    self_conditioning: float = Field(default=0.5, ge=0, le=1)


class TrainOptions(Options):
    """How the decoder is trained.

    Args:
        process: `absorbing`, masked diffusion; `uniform`, tokens become other words; `hybrid`, both, and text can be
            revised; `gaussian`, diffusion of token embeddings; `simplex`, diffusion of near one-hot logits, block by
            block; or `autoregressive`, the twin that writes left to right.
        continuous: of gaussian and simplex.
        tasks: task -> weight: its share of each batch, among the tasks that the dataset holds.
        optimizer: `muon` for the matrices of the blocks with AdamW for the rest, or `adamw` for all.
        condition_dropout: probability that a part of a sample's condition (latents, draft, style, hint, picture) is
            replaced by its learned null condition, for guidance; in half of the cases all parts at once.
        full_mask: probability that a sample's canvas is nothing but noise (high-mask specialisation).
        noise_skew: power that moves the other times of noise towards 1; 1 leaves them uniform.
        complementary: each sample is also seen with the other positions masked, under the same condition.
        crops: share of batches whose canvases are cut to a random length.
        confidence_loss: weight of the entropy of right predictions of masks, so that more of them pass a sampler's
            threshold at once (CAP, LLaDA2.0 2025); costs quality where it is large.
        hybrid: of the process of that name.
        compile: compile the blocks by `torch.compile`: on CPUs a quarter off their share of a step, for minutes of
            compiling at the start of a training. It wants a C++ compiler, and rounds differently.
        eval_every: optimiser steps between two scores *sampled* on the val split.
        calibration_samples: val samples a task on which the chosen checkpoint's confidences are calibrated; 0: none.
        patience: stop after this many scores without a better one; None never stops early.
        init_from: saved decoder to go on from: folder of a checkpoint, of a training or of a package, a registered
            model (`models:/name@champion`, `models:/name/3`), or a hub id. Its shape is kept, of `decoder` only
            `dropout` counts; tasks, styles and modalities that it lacks are added.
        keep_tokenizer: with `init_from`, go on with its tokenizer; otherwise the new data's must be the same.
        init_backbone: pretrained masked language model (ModernBERT; folder or hub id) whose blocks the decoder takes
            over, and with them hidden_size, num_layers and num_heads.
        freeze: parts that are not trained: backbone, embeddings, adapters, condition.
        lora: low-rank adapters in the blocks, whose own weights are then frozen; merged into what is saved.
        rehearse: samples of the training that `init_from` comes from, among the new ones.
        distill: learn from the predictions of `init_from` instead of from the texts, to need fewer steps than it;
            `multimodal distill` sets this.
    """

    process: Literal["absorbing", "uniform", "hybrid", "gaussian", "simplex", "autoregressive"] = "absorbing"
    continuous: ContinuousOptions = ContinuousOptions()
    tasks: dict[Task, float] = dict.fromkeys(Task, 1.0)
    steps: int = Field(default=2000, ge=1)
    max_minutes: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=96, ge=1)
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    warmup_steps: int = Field(default=100, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    condition_dropout: float = Field(default=0.1, ge=0, lt=1)
    full_mask: float = Field(default=0.3, ge=0, le=1)
    noise_skew: float = Field(default=1.0, ge=1)
    complementary: bool = False
    crops: float = Field(default=0.0, ge=0, le=1)
    confidence_loss: float = Field(default=0.0, ge=0)
    hybrid: HybridOptions = HybridOptions()
    mixed_precision: Literal["auto", "no", "bf16"] = "auto"
    compile: bool = False
    eval_every: int = Field(default=400, ge=1)
    eval_samples: int = Field(default=48, ge=1)
    calibration_samples: int = Field(default=200, ge=0)
    patience: int | None = Field(default=None, ge=1)
    checkpoint_every: int = Field(default=400, ge=1)
    init_from: str | None = None
    keep_tokenizer: bool = True
    init_backbone: str | None = None
    freeze: tuple[Part, ...] = ()
    lora: LoraOptions | None = None
    rehearse: RehearseOptions | None = None
    distill: HalvingOptions | None = None

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> TrainOptions:
        if self.init_from and self.init_backbone:
            raise ValueError("init_from brings its own blocks: leave out init_backbone")
        if self.rehearse and not self.init_from:
            raise ValueError("rehearse needs init_from: the model that learnt the old samples")
        if self.distill and not self.init_from:
            raise ValueError("distill needs init_from: the teacher")
        return self

    @model_validator(mode="after")
    def _options_fit_the_process(self) -> TrainOptions:
        if self.complementary and self.process not in ("absorbing", "hybrid"):
            raise ValueError(f"complementary masks need masks, and the process '{self.process}' has none")
        if self.confidence_loss and self.process not in ("absorbing", "hybrid"):
            raise ValueError(f"confidence_loss is for masks, and the process '{self.process}' has none")
        if self.distill and self.process not in ("absorbing", "hybrid"):
            raise ValueError(f"distill is for masks, and the process '{self.process}' has none")
        if self.distill and (self.complementary or self.crops or self.confidence_loss):
            raise ValueError("distill has its own loss: leave out complementary, crops and confidence_loss")
        if self.hybrid != HybridOptions() and self.process != "hybrid":
            raise ValueError(f"hybrid is for the process 'hybrid', not for '{self.process}'")
        if self.process == "simplex" and self.continuous.objective == "mse":
            raise ValueError(
                "train.continuous.objective mse is for train.process gaussian; simplex takes cross_entropy"
            )
        return self


class SamplerOptions(Options):
    """How text is drawn from the decoder.

    Args:
        kind: which sampler, see `multimodal.diffusion.samplers`; `auto` is the process's own. `confidence` unmasks by
            `threshold`, `entropy` by `entropy_bound`, `safe` by `safety`, `scheduled` by `unmasking`, `best_first`
            equal numbers, `ancestral` by chance, `remasking` by chance with tokens taken back, `mask_predict` writes
            all and takes back the doubtful, `posterior` draws every position anew, `renoising` writes all and gives
            the doubtful fresh noise, `revision` unmasks like `confidence` and corrects by `edit_threshold`.
            Which goes with which process: `multimodal.diffusion.SAMPLERS_OF`. Autoregressive decoders have no kinds.
        num_steps: most denoising steps, each one call of the denoiser (NFE).
        temperature: 0 takes the likeliest token; above, tokens are drawn.
        guidance_scale: classifier-free guidance w in log p_null + w (log p_cond - log p_null); 1 is off.
        guidance: latents, draft, style, hint or picture -> its own scale, composed with the others
            (`multimodal.generation.guidance`).
        threshold: unmask every token at least this confident; each step unmasks at least its share of the rest.
        entropy_bound: in nats, of the tokens unmasked in one step beyond the least certain of them.
        safety: unmask the n surest tokens while (n + 1) (1 - p_n) stays below it.
        unmasking: how the number of tokens grows with the steps.
        remasking: most that a written token's chance of being taken back may be on average.
        edit_threshold: probability above which another token replaces a written one.
        strength: how far denoise and restyle go, from 0, which keeps the input, to 1, all that the model would change;
            between, that share of its changes, the surest first (`multimodal.generation.strength`).
        length_quantile: by diffusion of tokens, no text without constraints is shorter than this quantile of the length
            that the first call sees (`multimodal.generation.length_floor`); 0 lets the sampler end it anywhere.
        candidates: texts drawn per sample, of which the one most like the others is kept (minimum Bayes risk); above 1
            it needs a temperature. Their calls all count.
        rerank: how one of several candidates is chosen: by `agreement` with the others; `clip`, of captions, by the
            likeness of picture and text under the CLIP model that encodes the pictures, others still by agreement.
        infill_lengths: infill: lengths of each gap that are tried side by side, of which the likeliest text is kept;
            all their calls count, and one more. 1: the model ends each filling as it writes. For decoders with masks.
        beams: hypotheses of an autoregressive decoder's beam search; it takes this, temperature, candidates and seed.
        predictor: of a decoder trained by `gaussian`: `flow` follows the probability-flow ODE, `ancestral` and `euler`
            the reversed SDE. Both continuous processes take num_steps (simplex shares them out among its blocks),
            temperature, guidance_scale, candidates and seed.
        corrector: gaussian: `langevin` or `mala`, its Metropolis-adjusted form, after each step of the predictor. Its
            calls, one or three a step, come on top of `num_steps`.
        corrector_steps: gaussian: steps of the corrector at each time.
        snr: gaussian: signal-to-noise ratio that the corrector's step size is chosen by.
        estimate: gaussian: the `expected` clean embedding, or the `nearest` one (clamping trick).
        seed: with the sample's id, all that a drawn text depends on.
        tasks: task -> what is different for it.

    `preset: draft | balanced | quality` stands for the values of `multimodal.diffusion.presets`.
    """

    kind: Literal[
        "auto",
        "confidence",
        "entropy",
        "safe",
        "scheduled",
        "best_first",
        "ancestral",
        "remasking",
        "mask_predict",
        "posterior",
        "renoising",
        "revision",
    ] = "auto"
    num_steps: int = Field(default=6, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    guidance_scale: float = Field(default=1.0, ge=0)
    guidance: dict[Literal["latents", "draft", "style", "hint", "picture"], Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict
    )
    threshold: float = Field(default=0.9, gt=0, le=1)
    entropy_bound: float = Field(default=0.1, ge=0)
    safety: float = Field(default=1.0, gt=0)
    unmasking: Literal["linear", "cosine", "convex"] = "linear"
    remasking: float = Field(default=0.1, ge=0, le=1)
    edit_threshold: float = Field(default=0.9, gt=0, le=1)
    strength: float = Field(default=1.0, ge=0, le=1)
    length_quantile: float = Field(default=0.02, ge=0, lt=1)
    candidates: int = Field(default=1, ge=1)
    rerank: Literal["agreement", "clip"] = "agreement"
    infill_lengths: int = Field(default=1, ge=1)
    beams: int = Field(default=1, ge=1)
    predictor: Literal["flow", "ancestral", "euler"] = "flow"
    corrector: Literal["none", "langevin", "mala"] = "none"
    corrector_steps: int = Field(default=1, ge=1)
    snr: float = Field(default=0.16, gt=0)
    estimate: Literal["expected", "nearest"] = "expected"
    seed: int = 0
    tasks: dict[Task, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, values: Any) -> Any:
        return with_preset(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> SamplerOptions:
        if self.candidates > 1 and self.temperature == 0:
            raise ValueError(f"{self.candidates} candidates at temperature 0 would be equal; set a temperature")
        if self.guidance and self.guidance_scale != 1:
            raise ValueError("guidance_scale guides by everything at once and guidance by each type: set one of them")
        return self

    @model_validator(mode="after")
    def _tasks_are_sound(self) -> SamplerOptions:
        for task, settings in self.tasks.items():
            if "tasks" in settings or "seed" in settings:
                raise ValueError(f"tasks.{task}: 'tasks' and 'seed' are the same for all tasks")
            self.of(task)
        return self

    def of(self, task: Task) -> SamplerOptions:
        """The options of one task."""
        if task not in self.tasks:
            return self
        return SamplerOptions.model_validate(self.model_dump() | self.tasks[task] | {"tasks": {}})

    def overruled(self, values: Mapping[str, Any]) -> SamplerOptions:
        """These options with some values that hold for every task; with a `preset` that replaces all but the seed.

        Raises:
            pydantic.ValidationError: a value is out of range.
        """
        if values.get("preset"):
            return SamplerOptions.model_validate({"seed": self.seed, **values})
        tasks = {
            task: {name: value for name, value in settings.items() if name not in values}
            for task, settings in self.tasks.items()
        }
        named = {name: value for name, value in values.items() if name != "preset"}
        return SamplerOptions.model_validate({**self.model_dump(), "tasks": tasks, **named})
