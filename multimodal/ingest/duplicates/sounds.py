"""What near-duplicate sounds share: a perceptual hash of the spectrogram finds them, its signs verify them."""

from __future__ import annotations

from functools import cache
from typing import Any

import imagehash
import numpy as np
import soxr
from PIL import Image

from multimodal.ingest.duplicates.decoded import sound_digest
from multimodal.ingest.duplicates.fingerprint import Fingerprint, fingerprint_version
from multimodal.ingest.sounds import Sound

SAMPLING_RATE = 8_000
WINDOW, HOP = 512, 40
"""Samples: frames of 64 ms, one every 5 ms, so that two sounds are never more than half of that out of step."""

BANDS = 17
"""One more than bits per frame: a bit is the sign of a difference between neighbouring bands."""

BITS = BANDS - 1
LOWEST, HIGHEST = 150.0, 3_400.0
FLOOR = 1e-4
"""Share of the loudest band's power below which nothing is heard: 40 dB."""

FRAMES_PER_BLOCK = 48
"""That are transformed at once: they stay in a core's cache, and memory does not grow with the sound."""

LAG = 8
"""Frames between which energies are compared: 40 ms, in which speech changes and a codec's noise does not."""

DEAD_ZONE = 0.1
"""Change of log energy that counts as none: the sign of nothing would be that of noise."""

MAX_SHIFT = 10
"""Frames that two fingerprints are shifted against each other, both ways."""

Array = np.ndarray[Any, Any]


def sound_version() -> str:
    """Of all that a sound's fingerprint depends on beside its bytes."""
    code = ("ingest/duplicates/decoded.py", "ingest/duplicates/sounds.py", "ingest/sounds.py")
    return fingerprint_version(*code, libraries=("imagehash", "numpy", "pillow", "soundfile", "soxr"))


def fingerprint_sound(sound: Sound) -> Fingerprint:
    """The fingerprint of a decoded sound.

    Its key is the pHash of the log-mel spectrogram, taken as a picture; its proof the signs of the energy differences
    between neighbouring bands and frames (Haitsma and Kalker 2002, "A Highly Robust Audio Fingerprinting System"),
    2 bytes per frame. Both are taken between the first and the last frame that is heard, and of energies
    relative to the loudest: neither gain nor silence around the sound changes them.
    """
    levels = log_mel(sound)
    pixels = np.round(255 * (levels / -np.log(FLOOR) + 1)).astype(np.uint8)
    key = np.packbits(imagehash.phash(Image.fromarray(pixels)).hash).tobytes()
    slopes = np.diff(levels, axis=1)
    proof = np.packbits(slopes[LAG:] - slopes[:-LAG] > DEAD_ZONE, axis=1).tobytes()
    return Fingerprint(key, proof, sound_digest(sound))


def log_mel(sound: Sound) -> Array:
    """Log energies of mel bands relative to the loudest, between log(FLOOR) and 0: float32 [frames, BANDS].

    Silence before and after the sound is cut off; at least `LAG` + 1 frames are left.
    """
    wave = sound.wave
    if sound.sampling_rate != SAMPLING_RATE:
        wave = soxr.resample(wave, sound.sampling_rate, SAMPLING_RATE)
    wave = np.pad(wave, (WINDOW, WINDOW + LAG * HOP))
    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP]
    hann = np.hanning(WINDOW).astype(np.float32)
    blocks = (frames[start : start + FRAMES_PER_BLOCK] * hann for start in range(0, len(frames), FRAMES_PER_BLOCK))
    energies = np.concatenate([_energies(block) for block in blocks])
    levels = np.log(np.maximum(energies / max(float(energies.max()), 1e-12), FLOOR))
    heard = np.flatnonzero(levels.max(axis=1) > np.log(10 * FLOOR))
    first, last = (heard[0], heard[-1]) if len(heard) else (0, 0)
    return np.asarray(levels[first : max(last, first + LAG) + 1])


def _energies(windows: Array) -> Array:
    """Energies of mel bands: float32 [frames, WINDOW] -> float32 [frames, BANDS]."""
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    energies: Array = power.astype(np.float32) @ _filters()
    return energies


@cache
def _filters() -> Array:
    """Triangular mel filters [WINDOW // 2 + 1, BANDS]."""
    edges = 700 * (10 ** (np.linspace(_mel(LOWEST), _mel(HIGHEST), BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / SAMPLING_RATE)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.clip(np.minimum(rising, falling), 0, None).astype(np.float32)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def sound_similarity(first: bytes, second: bytes) -> float:
    """Share of the bits that agree at the best shift; frames that only one of the two has agree in none.

    A little more than half of the bits of unrelated sounds agree, up to 0.79 of those of one word said twice by one
    speaker; of the same sound, coded anew and a few milliseconds late, 0.85 and more.
    """
    one, two = (np.frombuffer(proof, np.uint16) for proof in (first, second))
    longest = max(len(one), len(two))
    return max(_agreeing(one, two, shift) for shift in range(-MAX_SHIFT, MAX_SHIFT + 1)) / (BITS * longest)


def _agreeing(one: Array, two: Array, shift: int) -> int:
    one, two = (one[shift:], two) if shift >= 0 else (one, two[-shift:])
    shared = min(len(one), len(two))
    return BITS * shared - int(np.bitwise_count(one[:shared] ^ two[:shared]).sum())
