"""Silence before and behind a clip, found by its energy; trimmed only where an encoder's options ask for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FRAME_SECONDS = 0.025
HOP_SECONDS = 0.010

Wave = npt.NDArray[np.float32]


def trim_silence(wave: Wave, sampling_rate: int, below_db: float) -> Wave:
    """The clip from its first to its last frame of 25 ms that is not silent; a clip without any sound as it is.

    Args:
        wave: [samples].
        sampling_rate: in Hz.
        below_db: a frame is silent if its energy lies this many dB or more below that of the loudest one.
    """
    frame, hop = max(1, round(FRAME_SECONDS * sampling_rate)), max(1, round(HOP_SECONDS * sampling_rate))
    padded = np.pad(wave, (0, max(0, frame - len(wave)) + -max(0, len(wave) - frame) % hop))
    energies = np.square(np.lib.stride_tricks.sliding_window_view(padded, frame)[::hop], dtype=np.float64).mean(1)
    loud = np.flatnonzero(energies > energies.max() * 10 ** (-below_db / 10))
    return wave if not len(loud) else wave[loud[0] * hop : loud[-1] * hop + frame]
