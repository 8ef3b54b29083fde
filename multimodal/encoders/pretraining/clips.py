"""Sound with transcripts, kept as 16-bit samples in one memory-mapped file: what the audio tower is pretrained on."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from multimodal.fingerprint import INDEX, code_version, fingerprint, new_folder, read_index, write_json
from multimodal.synthetic.ogg import encode_ogg
from multimodal.synthetic.speech import (
    SAMPLING_RATE,
    TRAINING_VOICES,
    UNSEEN_VOICE,
    VOICES,
    SpeechRequest,
    random_request,
    speak_many,
)
from multimodal.synthetic.utterances import corpus_utterance

Progress = Callable[[int, int], None]
Wave = npt.NDArray[np.float32]

_WAVES = "waves.int16"
_CODE = ("synthetic/speech.py", "synthetic/utterances.py", "synthetic/ogg.py", "encoders/pretraining/clips.py")
_SPEED_LIMITS = (0.9, 1.1)


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip: 16-bit samples [samples] at 16 kHz, its transcript and its speaker."""

    samples: npt.NDArray[np.int16]
    text: str
    speaker: str

    @property
    def wave(self) -> Wave:
        """Float32 [samples] in [-1, 1]."""
        return self.samples.astype(np.float32) / np.float32(2**15)


@dataclass(frozen=True, slots=True)
class ClipSets:
    """Clips to learn from, and clips of sentences that are not among them."""

    train: Sequence[Clip]
    seen_voices: Sequence[Clip]
    unseen_voice: Sequence[Clip]


def spoken_clips(
    folder: Path, count: int, seed: int, progress: Progress | None = None, held_out: int = 400
) -> ClipSets:
    """Freshly spoken utterances, made once and kept under `folder`.

    Training clips use every training voice and only sentences that the sample corpus does not speak; half of them
    are sped up or slowed down with their formants (a cheap change of the vocal tract), a sixth went through the
    corpus's Opus coding. Held-out clips are spoken and coded exactly as the corpus is.

    Args:
        folder: receives one cache folder per set of arguments.
        count: training clips.
        seed: draws sentences, voices, rates and pitches.
        progress: called with (clips spoken, clips).
        held_out: held-out clips of the seen voices, and again of the unseen one.

    Raises:
        SourceError: espeak-ng is not installed.
    """
    parts = {"count": count, "held_out": held_out, "seed": seed, "code": code_version(*_CODE)}
    cache = folder / fingerprint(parts)
    if read_index(cache) is None:
        rng = random.Random(seed)
        requests = _requests(rng, count, held_out)
        waves = (
            _vary(wave, rng) if number < count else _through_opus(wave)
            for number, wave in enumerate(speak_many(requests))
        )
        with new_folder(cache) as temporary:
            ends = _write_waves(temporary / _WAVES, waves, len(requests), progress)
            write_json(temporary / INDEX, {"parts": parts, "ends": ends, **_columns(requests)})
    clips = _read(cache)
    return ClipSets(clips[:count], clips[count : count + held_out], clips[count + held_out :])


def _requests(rng: random.Random, count: int, held_out: int) -> list[SpeechRequest]:
    seen = [voice for voice in VOICES if voice != UNSEEN_VOICE]
    requests = [random_request(rng, corpus_utterance(rng, for_corpus=False), TRAINING_VOICES) for _ in range(count)]
    requests += [random_request(rng, corpus_utterance(rng, for_corpus=True), seen) for _ in range(held_out)]
    requests += [random_request(rng, corpus_utterance(rng, for_corpus=True), [UNSEEN_VOICE]) for _ in range(held_out)]
    return requests


def _columns(requests: Iterable[SpeechRequest]) -> dict[str, list[str]]:
    pairs = [(request.text, request.voice) for request in requests]
    return {"texts": [text for text, _ in pairs], "speakers": [voice for _, voice in pairs]}


def _write_waves(path: Path, waves: Iterator[Wave], total: int, progress: Progress | None) -> list[int]:
    ends, end = [], 0
    with path.open("wb") as file:
        for done, wave in enumerate(waves, start=1):
            file.write(to_int16(wave).tobytes())
            ends.append(end := end + len(wave))
            if progress is not None:
                progress(done, total)
    return ends


def to_int16(wave: Wave) -> npt.NDArray[np.int16]:
    """16-bit samples of a wave in [-1, 1]; what is beyond is clipped."""
    return (np.clip(wave, -1, 1) * (2**15 - 1)).astype(np.int16)


def _read(cache: Path) -> list[Clip]:
    index = read_index(cache) or {}
    samples: npt.NDArray[np.int16] = np.memmap(cache / _WAVES, dtype=np.int16, mode="r")
    starts = [0, *index["ends"][:-1]]
    return [
        Clip(samples[start:end], text, speaker)
        for start, end, text, speaker in zip(starts, index["ends"], index["texts"], index["speakers"], strict=True)
    ]


def _vary(wave: Wave, rng: random.Random) -> Wave:
    if rng.random() < 1 / 2:
        wave = soxr.resample(wave, SAMPLING_RATE * rng.uniform(*_SPEED_LIMITS), SAMPLING_RATE).astype(np.float32)
    return _through_opus(wave) if rng.random() < 1 / 6 else wave


def _through_opus(wave: Wave) -> Wave:
    decoded, _ = soundfile.read(io.BytesIO(encode_ogg(wave, SAMPLING_RATE, serial=0)), dtype="float32")
    coded: Wave = decoded
    return coded
