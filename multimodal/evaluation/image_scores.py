"""PSNR and SSIM of reconstructed pictures, by torchmetrics."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from multimodal.errors import MultimodalError
from multimodal.evaluation.score import Score


def psnr(pictures: np.ndarray, references: np.ndarray, data_range: float | None = None) -> Score:
    """Peak signal-to-noise ratio in dB, the mean over pictures; infinite for a picture without any error.

    Args:
        pictures: [n, height, width, channels], uint8 or floats.
        references: of the same shape and type.
        data_range: largest value less smallest; None: 255 for uint8, 1 for floats.

    Raises:
        MultimodalError: the shapes or types differ, or there is no picture.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio  # slow to import, needed here only

    ours, theirs, span = _tensors(pictures, references, data_range)
    value = peak_signal_noise_ratio(ours, theirs, data_range=span, dim=(1, 2, 3), reduction="elementwise_mean")
    return Score("psnr", float(value), {"samples": len(ours)}, _signature("psnr:mean of pictures,dB", span))


def ssim(pictures: np.ndarray, references: np.ndarray, data_range: float | None = None) -> Score:
    """Structural similarity, -1 to 1, the mean over pictures: Gaussian window of sigma 1.5 (Wang et al. 2004).

    Args and errors as `psnr`; pictures of at least 11 x 11.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure  # as above

    ours, theirs, span = _tensors(pictures, references, data_range)
    value = structural_similarity_index_measure(ours, theirs, data_range=span)
    assert not isinstance(value, tuple)  # a pair only where the full image is asked for
    return Score("ssim", float(value), {"samples": len(ours)}, _signature("ssim:gaussian,sigma1.5", span))


def _tensors(pictures: np.ndarray, references: np.ndarray, data_range: float | None) -> tuple:  # type: ignore[type-arg]
    import torch

    if (
        pictures.shape != references.shape
        or pictures.dtype != references.dtype
        or pictures.ndim != 4
        or not len(pictures)
    ):
        raise MultimodalError(
            "pictures are compared as two arrays [n, height, width, channels] of one shape and type; got "
            f"{pictures.shape} {pictures.dtype} and {references.shape} {references.dtype}"
        )
    span = data_range or (255.0 if pictures.dtype == np.uint8 else 1.0)
    ours, theirs = (
        torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1), dtype=np.float64))
        for array in (pictures, references)
    )
    return ours, theirs, span


def _signature(form: str, data_range: float) -> str:
    return f"{form}|range:{data_range:g}|torchmetrics:{version('torchmetrics')}"
