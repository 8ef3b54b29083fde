"""Utterances spoken by espeak-ng: the sample corpus's sound, and endless clips for pretraining the audio tower.

espeak-ng (GPL-3) is a program that this module runs; the sound it writes is program output. It is needed to make
clips, never to use them. Bitwise deterministic for a given espeak-ng version.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import soxr

from multimodal.errors import SourceError
from multimodal.fingerprint import write_file
from multimodal.synthetic.ogg import encode_ogg
from multimodal.synthetic.utterances import corpus_utterance, random_utterance, utterance_pair, vocabulary

__all__ = [
    "TRAINING_VOICES",
    "UNSEEN_VOICE",
    "VOICES",
    "SpeechRequest",
    "SpeechRow",
    "make_speech",
    "random_request",
    "random_utterance",
    "speak",
    "speak_many",
    "utterance_pair",
    "vocabulary",
]

SAMPLING_RATE = 16_000
"""Hz of everything that leaves this module."""

_ESPEAK_RATE = 22_050
_WAV_HEADER_BYTES = 44
_LENGTH_LIMITS_SECONDS = (1.0, 4.0)
_UNSEEN_SHARE = 0.1

UNSEEN_VOICE = "en-gb-x-rp+f4"
"""Speaks test sentences only. Neither its accent nor its variant is in `TRAINING_VOICES`."""

VOICES = ("en-us", "en+f3", "en-gb-scotland+m3", UNSEEN_VOICE)
"""The speakers of the sample corpus: espeak-ng accent and variant."""

# British English is spelt `en`: `en-gb` ignores its variant.
_ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
_VARIANTS = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+f1", "+f2", "+f3", "+f5", "+klatt", "+klatt4")

TRAINING_VOICES = tuple(accent + variant for accent in _ACCENTS for variant in _VARIANTS)
"""Every voice that the audio tower is pretrained on; holds all of `VOICES` but the unseen one."""

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """What to say, and how.

    Args:
        text: words to speak.
        voice: espeak-ng voice, `accent+variant`.
        rate: words per minute, espeak-ng takes 80 to 450.
        pitch: 0 to 99, espeak-ng's normal is 50.
    """

    text: str
    voice: str = VOICES[0]
    rate: int = 165
    pitch: int = 50


def speak(text: str, voice: str = VOICES[0], rate: int = 165, pitch: int = 50) -> Wave:
    """Speak a text: mono float32 [samples] in [-1, 1] at 16 kHz, silence at both ends cut to 50 ms.

    Raises:
        SourceError: espeak-ng is not installed, or refuses the voice.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise SourceError("espeak-ng is not installed, and speech is made with it: apt-get install espeak-ng")
    command = [program, "-v", voice, "-s", str(rate), "-p", str(pitch), "--stdout", text]
    result = subprocess.run(command, capture_output=True, check=False)
    # The header of a stream cannot know its length, so the samples are read without it.
    samples: Wave = np.frombuffer(result.stdout[_WAV_HEADER_BYTES:], dtype="<i2").astype(np.float32) / np.float32(2**15)
    if result.returncode or b"Error" in result.stderr or not samples.any():  # an unknown voice still exits 0
        raise SourceError(
            f"espeak-ng cannot say {text!r} with voice {voice!r}: {result.stderr.decode(errors='replace').strip()}; "
            "`espeak-ng --voices=en` lists voices"
        )
    wave: Wave = soxr.resample(_trim(samples), _ESPEAK_RATE, SAMPLING_RATE).astype(np.float32)
    return wave


def _trim(samples: Wave, floor: float = 0.005, margin_seconds: float = 0.05) -> Wave:
    """The part between the first and the last loud sample, with a margin."""
    loud = np.flatnonzero(np.abs(samples) > floor)
    if not loud.size:
        return samples
    margin = int(margin_seconds * _ESPEAK_RATE)
    return samples[max(0, loud[0] - margin) : loud[-1] + margin]


def speak_many(requests: Sequence[SpeechRequest], workers: int | None = None) -> Iterator[Wave]:
    """Speak requests in order, in as many espeak-ng processes at once as there are cores."""
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for start in range(0, len(requests), 256):  # a window, so that waves do not pile up before they are taken
            yield from pool.map(_speak_request, requests[start : start + 256])


def _speak_request(request: SpeechRequest) -> Wave:
    return speak(request.text, request.voice, request.rate, request.pitch)


def random_request(rng: random.Random, text: str, voices: Sequence[str]) -> SpeechRequest:
    """A text with one of the voices, at a rate and pitch that a person might use."""
    return SpeechRequest(text, rng.choice(voices), rate=rng.randint(140, 190), pitch=rng.randint(25, 75))


class SpeechRow(TypedDict):
    """One row of the sample corpus's speech manifest.

    Keys: `path` of the clip relative to the parent of the folder that holds it, `text`, `speaker` (the voice),
    `group` (the sentence, so that no sentence is in two splits), `split` ("test" for the unseen voice, else "").
    """

    path: str
    text: str
    speaker: str
    group: str
    split: str


def make_speech(folder: Path, rng: random.Random, count: int = 1600) -> list[SpeechRow]:
    """Speak `count` different sentences into Ogg Opus files and return their manifest rows.

    A tenth is spoken by `UNSEEN_VOICE`, the rest by the other three; every clip lasts 1 to 4 s. Same rng, same bytes.

    Raises:
        SourceError: espeak-ng is not installed.
    """
    rows: list[SpeechRow] = []
    requests = _different_requests(rng, count + count // 10)  # a few clips are too short or too long
    for request, wave in zip(requests, speak_many(requests), strict=True):
        if len(rows) == count:
            break
        if _LENGTH_LIMITS_SECONDS[0] <= len(wave) / SAMPLING_RATE <= _LENGTH_LIMITS_SECONDS[1]:
            path = folder / f"{len(rows):05d}.ogg"
            write_file(path, encode_ogg(wave, SAMPLING_RATE, serial=len(rows)))
            split = "test" if request.voice == UNSEEN_VOICE else ""
            name = path.relative_to(folder.parent).as_posix()
            rows.append(SpeechRow(path=name, text=request.text, speaker=request.voice, group=request.text, split=split))
    return rows


def _different_requests(rng: random.Random, count: int) -> list[SpeechRequest]:
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts[corpus_utterance(rng, for_corpus=True)] = None
    seen = [voice for voice in VOICES if voice != UNSEEN_VOICE]
    return [random_request(rng, text, [UNSEEN_VOICE] if rng.random() < _UNSEEN_SHARE else seen) for text in texts]
