"""Media that decodes well and is of no use: blank pictures; silent, mostly silent and clipped sounds."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from multimodal.errors import MediaError
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.reasons import Reason
from multimodal.ingest.sounds import Sound

WINDOW_SECONDS = 0.02
FULL_SCALE = 0.999
"""A sample from here on counts as clipped: 16-bit files reach 32767 / 32768."""


def check_picture(picture: Image.Image, checks: CheckOptions) -> None:
    """Refuse a picture of too little contrast.

    Raises:
        MediaError: `blank_image`.
    """
    if not checks.min_image_contrast:
        return
    levels = np.asarray(picture)
    contrast = int((levels.max(axis=(0, 1)) - levels.min(axis=(0, 1))).max())
    if contrast < checks.min_image_contrast:
        detail = f"{contrast} levels between darkest and brightest, at least {checks.min_image_contrast}"
        raise MediaError(Reason.BLANK_IMAGE, detail)


def check_sound(sound: Sound, checks: CheckOptions) -> None:
    """Refuse a sound that an encoder would hear nothing in, or too much.

    Raises:
        MediaError: `silent_audio`, `mostly_silent_audio` or `clipped_audio`.
    """
    levels = np.abs(sound.wave)
    threshold = 10 ** (checks.silence_dbfs / 20)
    peak = float(levels.max())
    if peak < threshold:
        dbfs = 20 * math.log10(peak) if peak > 0 else -math.inf
        raise MediaError(Reason.SILENT_AUDIO, f"peak {dbfs:.0f} dBFS, at least {checks.silence_dbfs:.0f} dBFS")
    if checks.max_silent_share < 1:
        starts = np.arange(0, len(levels), max(1, round(WINDOW_SECONDS * sound.sampling_rate)))
        share = float((np.maximum.reduceat(levels, starts) < threshold).mean())
        _check_share(Reason.MOSTLY_SILENT_AUDIO, "silent", share, checks.max_silent_share)
    if checks.max_clipped_share < 1:
        _check_share(Reason.CLIPPED_AUDIO, "clipped", float((levels >= FULL_SCALE).mean()), checks.max_clipped_share)


def _check_share(reason: Reason, name: str, share: float, most: float) -> None:
    if share > most:
        raise MediaError(reason, f"{share:.1%} of the sound is {name}, at most {most:.1%}")
