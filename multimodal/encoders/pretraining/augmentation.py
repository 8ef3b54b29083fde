"""What no two visits of a clip have alike: speed, loudness, noise, and which parts of the spectrum are masked."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from multimodal.encoders.pretraining.clips import Wave
from multimodal.encoders.pretraining.options import PretrainOptions
from multimodal.encoders.towers import SAMPLING_RATE, SpeechTower

_GAIN_DB = (-12.0, 3.0)
_NOISE_SHARE = 0.5
_NOISE_SNR_DB = (10.0, 40.0)


class Augmentation:
    """Speed perturbation (Ko et al., 2015), gain, noise and SpecAugment (Park et al., 2019), by torchaudio.

    Args:
        tower: turns waves into inputs; the spectrum is masked where inputs are spectra.
        options: which speeds, which masks.
        rng: draws gain and noise; speeds and masks are drawn by torch's own generator, as torchaudio does.
    """

    def __init__(self, tower: SpeechTower, options: PretrainOptions, rng: np.random.Generator) -> None:
        from torchaudio.transforms import SpeedPerturbation

        self._tower, self._rng, self._masks = tower, rng, options.spec_augment
        self._speed = SpeedPerturbation(SAMPLING_RATE, list(options.speeds)) if options.speeds else None

    def __call__(self, wave: Wave) -> Tensor:
        """Inputs of the tower, of a changed wave."""
        rng = self._rng
        if self._speed is not None:
            wave = self._speed(torch.from_numpy(wave))[0].numpy()
        wave = wave * np.float32(10 ** (rng.uniform(*_GAIN_DB) / 20))
        if rng.random() < _NOISE_SHARE:
            wave = wave + self._noise(wave)
        inputs = self._tower.inputs(wave)
        return self._masked(inputs) if inputs.dim() == 2 else inputs

    def _noise(self, wave: Wave) -> Wave:
        level = np.sqrt(np.mean(wave**2)) / 10 ** (self._rng.uniform(*_NOISE_SNR_DB) / 20)
        return self._rng.standard_normal(len(wave), dtype=np.float32) * np.float32(level)

    def _masked(self, features: Tensor) -> Tensor:
        """A spectrum [frames, bins] with bands and stretches of it set to its mean."""
        from torchaudio.transforms import SpecAugment

        if (masks := self._masks) is None:
            return features
        longest = int(masks.time_share * len(features))
        # torchaudio's limits are exclusive; its own share would limit the bands too, so it is made for the clip.
        augment = SpecAugment(masks.time_masks, longest + 1, masks.frequency_masks, masks.frequency_bins + 1)
        masked: Tensor = augment(features.T)
        return masked.T
