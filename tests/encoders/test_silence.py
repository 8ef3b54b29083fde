"""Silence is what has little energy beside the loudest part of its clip."""

import numpy as np
import pytest

from multimodal.encoders.silence import trim_silence

RATE = 16_000


def burst(begin: float, end: float, seconds: float, level: float = 0.5) -> np.ndarray:
    times = np.arange(int(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * 440 * times) * ((times >= begin) & (times < end))).astype(np.float32)


def test_a_burst_is_found_to_a_frame() -> None:
    """From 25 ms before its first sample at most to 25 ms behind its last; its samples are not changed."""
    wave = burst(0.4, 1.1, 2.0)
    trimmed = trim_silence(wave, RATE, 40)
    assert 0.7 * RATE <= len(trimmed) <= 0.75 * RATE
    begin = next(start for start in range(len(wave)) if np.array_equal(wave[start : start + len(trimmed)], trimmed))
    assert 0.375 * RATE <= begin <= 0.4 * RATE


def test_pauses_within_stay() -> None:
    """Only the ends are trimmed."""
    wave = burst(0.2, 0.5, 2.0) + burst(1.2, 1.5, 2.0)
    assert 1.3 * RATE <= len(trim_silence(wave, RATE, 40)) <= 1.36 * RATE


@pytest.mark.parametrize(("level_db", "kept"), [(-30, True), (-50, False)])
def test_the_threshold_is_relative_to_the_loudest_frame(level_db: float, kept: bool) -> None:
    """A faint tone before a loud one is sound or silence by how many decibels it is fainter, at any volume."""
    for volume in (1.0, 0.01):
        wave = volume * (burst(0.0, 0.5, 1.5, 0.5 * 10 ** (level_db / 20)) + burst(1.0, 1.5, 1.5))
        assert (len(trim_silence(wave.astype(np.float32), RATE, 40)) > RATE) is kept


@pytest.mark.parametrize("length", [1, 100, 399, 400, 401, 16_000])
def test_clips_without_sound_and_the_shortest_stay_as_they_are(length: int) -> None:
    """Nothing but zeros has no loudest part; a clip of a sample is no frame."""
    for wave in (np.zeros(length, dtype=np.float32), np.full(length, 0.1, dtype=np.float32)):
        np.testing.assert_array_equal(trim_silence(wave, RATE, 40), wave)
