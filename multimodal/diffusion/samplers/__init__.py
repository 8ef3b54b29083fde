"""Samplers: the loops around a denoiser that turn noise into text. `SAMPLERS` names them all."""

from multimodal.diffusion.samplers.ancestral import AncestralSampler, RemaskingSampler
from multimodal.diffusion.samplers.base import Denoiser, Sampler, SamplerOutput
from multimodal.diffusion.samplers.mask_predict import MaskPredictSampler
from multimodal.diffusion.samplers.posterior import PosteriorSampler
from multimodal.diffusion.samplers.renoising import RenoisingSampler
from multimodal.diffusion.samplers.revision import RevisionSampler
from multimodal.diffusion.samplers.unmasking import (
    BestFirstSampler,
    ConfidenceSampler,
    EntropyBoundedSampler,
    SafeSampler,
    ScheduledSampler,
)

SAMPLERS: dict[str, type[Sampler]] = {
    "confidence": ConfidenceSampler,
    "entropy": EntropyBoundedSampler,
    "safe": SafeSampler,
    "scheduled": ScheduledSampler,
    "best_first": BestFirstSampler,
    "ancestral": AncestralSampler,
    "remasking": RemaskingSampler,
    "mask_predict": MaskPredictSampler,
    "posterior": PosteriorSampler,
    "renoising": RenoisingSampler,
    "revision": RevisionSampler,
}

__all__ = [
    "SAMPLERS",
    "AncestralSampler",
    "BestFirstSampler",
    "ConfidenceSampler",
    "Denoiser",
    "EntropyBoundedSampler",
    "MaskPredictSampler",
    "PosteriorSampler",
    "RemaskingSampler",
    "RenoisingSampler",
    "RevisionSampler",
    "SafeSampler",
    "Sampler",
    "SamplerOutput",
    "ScheduledSampler",
]
