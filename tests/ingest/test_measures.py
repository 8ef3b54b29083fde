from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from PIL import Image
from scipy.signal import resample_poly

from multimodal.errors import MediaError
from multimodal.ingest.measures import NO_SOUND_DBFS, picture_measures, sound_measures, text_measures
from multimodal.ingest.media import check_media
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.reasons import Reason
from multimodal.ingest.sounds import Sound
from multimodal.sample import Modality
from tests.conftest import ROOT

HONEST = CheckOptions(min_bandwidth_share=0.5)


def noise(rate, seconds=2.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, int(rate * seconds)).astype(np.float32)


def flac(wave, rate):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1, 1), rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def bandwidth(wave, rate):
    return sound_measures(Sound(wave.astype(np.float32), rate, 1), -60)["bandwidth_share"]


def test_a_flat_picture_has_its_brightness_and_nothing_else():
    """Luma of one colour by ITU-R 601; no contrast, no sharpness."""
    found = picture_measures(Image.new("RGB", (40, 30), (200, 100, 0)))
    assert found["brightness"] == pytest.approx(0.299 * 200 + 0.587 * 100, abs=1)
    assert (found["contrast"], found["sharpness"]) == (0, 0)


def test_sharpness_is_the_variance_of_the_laplacian():
    """Of a chequerboard of 0 and 255 it is (4 * 255)^2: every neighbour differs from every pixel."""
    board = np.indices((32, 32)).sum(axis=0) % 2 * 255
    picture = Image.fromarray(np.stack([board] * 3, axis=2).astype(np.uint8))
    assert picture_measures(picture)["sharpness"] == pytest.approx((4 * 255) ** 2)
    assert picture_measures(picture.resize((300, 300), Image.Resampling.BICUBIC))["sharpness"] < 1000


def test_a_mark_between_the_points_of_the_grid_is_seen_where_contrast_counts():
    """A large picture is looked at on a grid, unless it would be refused for what the grid does not show."""
    picture = Image.new("RGB", (2048, 2048), (9, 9, 9))
    picture.putpixel((1, 1), (9, 99, 9))
    assert picture_measures(picture)["contrast"] == 0
    assert picture_measures(picture, min_contrast=20)["contrast"] == 90


def test_levels_of_a_tone():
    """A sine of amplitude a has peak a and loudness a / sqrt(2); its centroid is its frequency."""
    wave = 0.5 * np.sin(2 * np.pi * 2000 * np.arange(16_000) / 16_000)
    found = sound_measures(Sound(np.r_[wave, np.zeros(16_000)].astype(np.float32), 16_000, 1), -60)
    assert found["peak_dbfs"] == pytest.approx(-6.02, abs=0.01)
    assert found["loudness_dbfs"] == pytest.approx(-6.02 - 3.01 - 3.01, abs=0.01)
    assert found["silent_share"] == pytest.approx(0.5, abs=0.01)
    assert found["spectral_centroid"] == pytest.approx(2000, abs=20)
    assert found["clipped_share"] == 0


def test_silence_has_no_spectrum():
    """Zeros, a constant and a single sample are measured without dividing by nothing."""
    for wave in (np.zeros(1000), np.full(1000, 0.5), np.zeros(1)):
        found = sound_measures(Sound(wave.astype(np.float32), 8000, 1), -60)
        assert "bandwidth_share" not in found or found["bandwidth_share"] <= 1
    assert found["peak_dbfs"] == NO_SOUND_DBFS


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_white_noise_fills_its_spectrum(rate):
    """No false alarm, whatever the rate and however short the clip."""
    for seconds in (2.0, 0.2, 0.02):
        assert bandwidth(noise(rate, seconds), rate) > 0.95


@pytest.mark.parametrize(("old", "new"), [(8_000, 44_100), (8_000, 16_000 * 3), (11_025, 44_100), (4_000, 16_000)])
def test_a_resampled_sound_is_found_out(old, new):
    """Noise of a low rate in a file of a high one ends where its old spectrum ended; both its bytes say so."""
    up = resample_poly(noise(old), new, old)
    assert bandwidth(up, new) == pytest.approx(old / new, abs=0.12)
    with pytest.raises(MediaError) as caught:
        check_media(flac(up, new), Modality.AUDIO, HONEST)
    assert caught.value.reason == Reason.SAMPLING_RATE_LIE
    assert caught.value.measures["bandwidth_share"] < 0.5
    check_media(flac(up, new), Modality.AUDIO, CheckOptions())


def test_speech_is_told_from_resampled_speech():
    """Shipped clips pass; the same clips, once brought down to 8 kHz and up to 44.1 kHz, do not."""
    clips = sorted((ROOT / "data/sample/speech").rglob("*.*"))[::40]
    sounds = 0
    for clip in clips:
        data = clip.read_bytes()
        try:
            wave, rate = soundfile.read(io.BytesIO(data), dtype="float32")
        except soundfile.SoundFileError:  # the corpus holds two broken files
            continue
        check_media(data, Modality.AUDIO, CheckOptions(min_bandwidth_share=0.8))
        low = resample_poly(resample_poly(wave, 1, 2), 44_100, rate // 2)
        with pytest.raises(MediaError, match="sampling_rate_lie"):
            check_media(flac(0.5 * low, 44_100), Modality.AUDIO, HONEST)
        sounds += 1
    assert sounds > 20


def test_of_an_endless_text_the_beginning_is_counted():
    """Lengths are those of the whole; shares are those of the first 65,536 characters."""
    found = text_measures("1" * 65_536 + "a" * 1_000_000)
    assert (found["characters"], found["digit_share"], found["non_letter_share"]) == (1_065_536, 1, 1)


def test_text_measures_are_counts():
    """Words, characters, and shares of what is no space."""
    found = text_measures("at 10 o'clock")
    assert found == {
        "characters": 13, "words": 3, "mean_word_length": pytest.approx(11 / 3), "digit_share": pytest.approx(2 / 11),
        "non_letter_share": pytest.approx(3 / 11),
    }  # fmt: skip
