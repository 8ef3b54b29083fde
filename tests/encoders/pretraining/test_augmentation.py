"""What is done to clips before a tower hears them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from multimodal.encoders.pretraining.augmentation import Augmentation
from multimodal.encoders.pretraining.options import PretrainOptions, SpecAugmentOptions
from multimodal.encoders.towers import SAMPLING_RATE

WAVE = np.sin(np.arange(SAMPLING_RATE) / 20).astype(np.float32)


class Heard:
    """A tower of which only the inputs are asked for."""

    def __init__(self, inputs: Callable[[Tensor], Tensor] = lambda wave: wave) -> None:
        self._inputs = inputs

    def inputs(self, wave: np.ndarray) -> Tensor:
        return self._inputs(torch.from_numpy(wave))


def augmented(inputs: Callable[[Tensor], Tensor], **options: object) -> list[Tensor]:
    torch.manual_seed(0)
    how = PretrainOptions.model_validate(options)
    augment = Augmentation(Heard(inputs), how, np.random.default_rng(0))  # type: ignore[arg-type]
    return [augment(WAVE) for _ in range(40)]


def test_speeds_change_length_and_pitch() -> None:
    """Of the speeds 0.8 and 1.25 each visit takes one: 5/4 or 4/5 of the samples, at 4/5 or 5/4 of the pitch."""
    heard = augmented(lambda wave: wave, speeds=[0.8, 1.25])
    assert {len(wave) for wave in heard} == {SAMPLING_RATE * 5 // 4, SAMPLING_RATE * 4 // 5}
    for wave in heard:
        loudest = float(torch.fft.rfft(wave).abs().argmax()) * SAMPLING_RATE / len(wave)  # Hz
        assert abs(loudest - SAMPLING_RATE**2 / len(wave) / (2 * np.pi * 20)) < 2


def test_without_speeds_a_clip_keeps_its_length() -> None:
    """Loudness and noise alone are changed."""
    assert {len(wave) for wave in augmented(lambda wave: wave)} == {SAMPLING_RATE}


def test_spec_augment_masks_what_its_options_allow_and_no_more() -> None:
    """One band of at most 3 bins and one stretch of at most a tenth of the frames become the spectrum's mean."""
    plain = torch.arange(100 * 16, dtype=torch.float32).view(100, 16)
    mean = float(plain.mean())
    bands, stretches = set(), set()
    options = SpecAugmentOptions(time_masks=1, time_share=0.1, frequency_masks=1, frequency_bins=3)
    for spectrum in augmented(lambda _: plain.clone(), spec_augment=options.model_dump()):
        masked = spectrum != plain
        whole_bins, whole_frames = masked.all(0), masked.all(1)
        assert torch.equal(masked, whole_bins[None] | whole_frames[:, None])
        bands.add(int(whole_bins.sum()))
        stretches.add(int(whole_frames.sum()))
        if whole_frames.any():
            torch.testing.assert_close(spectrum[whole_frames].mean(), torch.tensor(mean))
    assert max(bands) == 3 and max(stretches) == 10 and min(bands) == 0


def test_spec_augment_can_be_switched_off() -> None:
    """A null in the configuration leaves spectra as they are."""
    plain = torch.randn(50, 16)
    assert all(torch.equal(each, plain) for each in augmented(lambda _: plain.clone(), spec_augment=None))
