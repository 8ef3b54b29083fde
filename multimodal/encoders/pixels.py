"""The last steps of a picture's preprocessing, by the batch: float tensors and normalisation of pixels in bytes.

torchvision's ToTensor and Normalize cost as much a picture as decoding a small one; on a whole batch they are nearly
free, and what travels from the decoders is a quarter as large. The values are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Normalisation = tuple[Tensor, Tensor]
"""Mean and standard deviation by channel, [3, 1, 1] each."""


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Transforms of a picture up to its pixels, uint8 [3, height, width]."""

    steps: tuple[Callable[[Any], Any], ...]

    def __call__(self, picture: Any) -> Tensor:
        for step in self.steps:
            picture = step(picture)
        return torch.from_numpy(np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1)))


def to_pixels(preprocess: Any) -> Callable[[Any], Tensor]:
    """A transform of PIL pictures without its last steps, or as it is where it does not end with these."""
    return _Pixels(tuple(preprocess.transforms[:-2])) if _ends_as_known(preprocess) else preprocess


def normalisation_of(preprocess: Any) -> Normalisation | None:
    """What `to_pixels` has left out; None where it left nothing out."""
    if not _ends_as_known(preprocess):
        return None
    last = preprocess.transforms[-1]
    mean, std = (torch.tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in (last.mean, last.std))
    return mean, std


def normalise(pixels: Tensor, normalisation: Normalisation | None) -> Tensor:
    """Pixels uint8 [b, 3, height, width] as the model takes them; floats are normalised already."""
    if normalisation is None or pixels.dtype is not torch.uint8:
        return pixels
    mean, std = (values.to(pixels.device) for values in normalisation)
    return pixels.float().div_(255).sub_(mean).div_(std)


def _ends_as_known(preprocess: Any) -> bool:
    names = [type(step).__name__ for step in getattr(preprocess, "transforms", ())]
    return names[-2:] in (["MaybeToTensor", "Normalize"], ["ToTensor", "Normalize"])
