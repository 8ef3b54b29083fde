from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from multimodal.ingest.duplicates.kinds import MAX_SOUND_BITS
from multimodal.ingest.duplicates.options import DuplicateOptions
from multimodal.ingest.duplicates.sounds import BANDS, FLOOR, LAG, fingerprint_sound, log_mel, sound_similarity
from multimodal.ingest.sounds import Sound, decode_sound

SPEECH = Path(__file__).parents[3] / "data/sample/speech"
LEAST = DuplicateOptions().min_sound_similarity


def prints_of(data):
    return fingerprint_sound(decode_sound(data))


def coded(wave, rate, kind="WAV"):
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.astype(np.float32), rate, format=kind)
    return buffer.getvalue()


def delayed(wave, rate, seconds):
    return np.concatenate([np.zeros(round(seconds * rate)), wave])


CHANGES = {
    "gain": lambda wave, rate: coded(0.3 * wave, rate),
    "mp3": lambda wave, rate: coded(wave, rate, "MP3"),
    "flac": lambda wave, rate: coded(wave, rate, "FLAC"),
    "shift": lambda wave, rate: coded(delayed(wave, rate, 0.007), rate),
    "cut": lambda wave, rate: coded(wave[round(0.005 * rate) :], rate),
    "rate": lambda wave, rate: coded(soxr.resample(wave, rate, 22_050), 22_050, "OGG"),
    "all": lambda wave, rate: coded(0.5 * delayed(wave, rate, 0.004), rate, "MP3"),
}


def near(one, two):
    apart = int(np.bitwise_count(np.frombuffer(one.key, np.uint64) ^ np.frombuffer(two.key, np.uint64))[0])
    return apart <= MAX_SOUND_BITS and sound_similarity(one.proof, two.proof) >= LEAST


@pytest.mark.parametrize("change", CHANGES)
def test_a_sound_coded_anew_is_found(change):
    """Neither gain nor codec, rate or a few milliseconds of shift make another utterance."""
    found = []
    for path in sorted(SPEECH.iterdir())[:20]:
        wave, rate = soundfile.read(path)
        found.append(near(prints_of(path.read_bytes()), prints_of(CHANGES[change](wave, rate))))
    assert sum(found) >= 19


def test_other_utterances_are_not_found():
    """Of a hundred utterances by a few synthetic voices, many of the same pattern, no two are near."""
    prints = [prints_of(path.read_bytes()) for path in sorted(SPEECH.iterdir())[:100]]
    likes = [sound_similarity(one.proof, two.proof) for one, two in combinations(prints, 2)]
    assert max(likes) < LEAST


def test_a_sound_is_like_itself_and_its_likeness_is_mutual(clip):
    """Similarity is 1 for the same, about a half for strangers, and the same both ways."""
    one, two = (prints_of(clip(seed)).proof for seed in (1, 2))
    assert sound_similarity(one, one) == 1
    assert sound_similarity(one, two) == sound_similarity(two, one)
    assert 0.3 < sound_similarity(one, two) < 0.7


def test_a_part_of_a_sound_is_not_the_sound(clip):
    """Frames that only the longer one has count against it."""
    wave, rate = soundfile.read(io.BytesIO(clip(1)))
    half = prints_of(coded(wave[: len(wave) // 2], rate))
    assert sound_similarity(prints_of(clip(1)).proof, half.proof) < 0.6


def test_silence_and_clicks_have_a_fingerprint():
    """Nothing is too short or too quiet for one."""
    for wave in (np.zeros(800), np.eye(1, 10)[0], np.full(8000, 1e-9)):
        levels = log_mel(Sound(wave.astype(np.float32), 8_000, 1))
        assert len(levels) > LAG
        assert levels.shape[1] == BANDS
        assert levels.min() >= np.log(FLOOR) - 1e-5
