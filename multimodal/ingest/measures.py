"""What is measured of every picture, sound and text, once: the checks, the histograms and the outliers all read it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

from multimodal.ingest.sounds import Sound, Wave

Measures = dict[str, float]
"""Name of a measure -> value; a check that refused the row leaves out what comes after it."""

WINDOW_SECONDS = 0.02
FULL_SCALE = 0.999
"""A sample from here on counts as clipped: 16-bit files reach 32767 / 32768."""

NO_SOUND_DBFS = -200.0
"""Stands for the level of a sound that is zero throughout."""

MOST_COUNTED_CHARS = 1 << 16
GRID_PIXELS = 128
CENTRE_PIXELS = 128
SPECTRUM_SAMPLES, SPECTRUM_WINDOWS = 512, 32
_HANN = np.hanning(SPECTRUM_SAMPLES).astype(np.float32)
_RAMP = np.arange(SPECTRUM_SAMPLES)
Numbers = np.ndarray[Any, np.dtype[np.float64]]
BANDWIDTH_POWER = 1e-6
"""Share of a sound's power that may lie above its bandwidth: 60 dB below all of it."""


def picture_measures(picture: Image.Image, min_contrast: int = 0) -> Measures:
    """Brightness, contrast and sharpness of a decoded picture.

    - `brightness`: mean luma (ITU-R 601), 0 to 255, over a grid of at most 128 x 128 pixels.
    - `contrast`: levels of 0 to 255 between darkest and brightest in the channel where they differ most, over the same
      grid; over all pixels where the grid's stays below `min_contrast`, since a mark may lie between.
    - `sharpness`: variance of the Laplacian of the luma (Pech-Pacheco et al. 2000) of the central 128 x 128 pixels.

    Args:
        picture: RGB.
    """
    width, height = picture.size
    grid = picture
    if max(width, height) > GRID_PIXELS:
        grid = picture.resize((min(width, GRID_PIXELS), min(height, GRID_PIXELS)), Image.Resampling.NEAREST)
    contrast = _contrast(grid)
    if contrast < min_contrast and grid is not picture:
        contrast = _contrast(picture)
    brightness = float(np.asarray(grid.convert("L")).mean(dtype=np.float32))
    return {"brightness": brightness, "contrast": contrast, "sharpness": _sharpness(picture)}


def sound_measures(sound: Sound, silence_dbfs: float) -> Measures:
    """Levels and spectrum of a decoded sound.

    - `peak_dbfs`, `loudness_dbfs`: of its largest sample and of its root mean square, dB of full scale; -200 for none.
    - `silent_share`: share of its windows of 20 ms that stay below `silence_dbfs`; `clipped_share`: of its samples at
      full scale.
    - `spectral_centroid`: Hz, mean frequency by power; `bandwidth_share`: the share of the spectrum, from 0 up to half
      the sampling rate, that holds all of the power but its last 60 dB. A sound that is resampled to a higher rate has
      nothing above its old one. Both are absent where there is no power.
    """
    wave, rate = sound.wave, sound.sampling_rate
    levels = np.abs(wave)
    loudest = _loudest(levels, max(1, round(WINDOW_SECONDS * rate)))
    # Squares of single precision would lose what is quiet; the sum of a clip's loses nothing that matters.
    power = float(np.dot(wave, wave)) / len(wave)
    measures: Measures = {
        "peak_dbfs": _dbfs(float(loudest.max())),
        "loudness_dbfs": _dbfs(math.sqrt(power)),
        "silent_share": float((loudest < 10 ** (silence_dbfs / 20)).mean()),
        "clipped_share": np.count_nonzero(levels >= FULL_SCALE) / len(levels) if loudest.max() >= FULL_SCALE else 0.0,
    }
    spectrum = _spectrum(wave)
    total = float(spectrum.sum())
    if total > 0:
        above = np.cumsum(spectrum[::-1])[::-1]
        bins = len(spectrum)
        measures["spectral_centroid"] = float(spectrum @ np.arange(bins)) / total * rate / 2 / (bins - 1)
        measures["bandwidth_share"] = int(np.flatnonzero(above > BANDWIDTH_POWER * total)[-1]) / (bins - 1)
    return measures


def text_measures(text: str) -> Measures:
    """Simple counts over a text that is normalised and not empty; shares are of its characters other than spaces.

    Of a very long text the beginning stands for its shares: a megabyte would take as long as a picture.
    """
    words = text.count(" ") + 1
    visible = len(text) - words + 1
    head = text[:MOST_COUNTED_CHARS]
    in_head = len(head) - head.count(" ")
    return {
        "characters": len(text),
        "words": words,
        "mean_word_length": visible / words,
        "digit_share": sum(map(str.isdigit, head)) / in_head,
        "non_letter_share": 1 - sum(map(str.isalpha, head)) / in_head,
    }


def _contrast(picture: Image.Image) -> int:
    extrema: Any = picture.getextrema()
    return int(max(high - low for low, high in extrema))


def _sharpness(picture: Image.Image) -> float:
    width, height = picture.size
    left, top = max(0, (width - CENTRE_PIXELS) // 2), max(0, (height - CENTRE_PIXELS) // 2)
    centre = picture.crop((left, top, min(width, left + CENTRE_PIXELS), min(height, top + CENTRE_PIXELS)))
    grey = np.asarray(centre.convert("L")).astype(np.int16)
    if min(grey.shape) < 3:
        return 0.0
    laplacian = grey[1:-1, 1:-1] * -4
    for around in (grey[:-2, 1:-1], grey[2:, 1:-1], grey[1:-1, :-2], grey[1:-1, 2:]):
        laplacian += around
    values = laplacian.ravel().astype(np.float32)
    return max(0.0, float(values @ values) / len(values) - float(values.mean()) ** 2)


def _loudest(levels: Wave, window: int) -> Wave:
    """The largest of each window; the last one may be shorter."""
    whole = len(levels) // window * window
    found: Wave = levels[:whole].reshape(-1, window).max(axis=1)
    return found if whole == len(levels) else np.append(found, levels[whole:].max())


def _spectrum(wave: Wave) -> Numbers:
    """Mean power [bins] of up to 32 windows of 512 samples, evenly spaced; nothing of the constant part."""
    if len(wave) < SPECTRUM_SAMPLES:
        wave = np.pad(wave, (0, SPECTRUM_SAMPLES - len(wave)))
    count = min(SPECTRUM_WINDOWS, len(wave) // SPECTRUM_SAMPLES)
    starts = np.linspace(0, len(wave) - SPECTRUM_SAMPLES, count).astype(np.int64)
    bins = np.fft.rfft(wave[starts[:, None] + _RAMP] * _HANN)
    spectrum: Numbers = (bins.real**2 + bins.imag**2).mean(axis=0, dtype=np.float64)
    spectrum[:2] = 0  # the window spreads a constant over two bins
    return spectrum


def _dbfs(level: float) -> float:
    return max(NO_SOUND_DBFS, 20 * math.log10(level)) if level > 0 else NO_SOUND_DBFS
