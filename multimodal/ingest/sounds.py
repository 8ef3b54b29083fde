"""The one decoder of sound: ingest runs it within limits in the sandbox, the encoders run it on what was kept.

Whatever the file holds (any rate, mono, stereo, 5.1, 8 to 32 bits, floats), what comes out is the mean of its
channels at the file's own rate, full scale at 1.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from multimodal.errors import MediaError
from multimodal.ingest.formats import audio_format, audio_length_problem
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.reasons import Reason

BLOCK_SAMPLES = 1 << 20
"""Samples of all channels that are decoded at once: memory does not grow with what a header promises."""

UNKNOWN_FRAMES = 1 << 60
"""libsndfile states about 2^63 frames for a FLAC whose header leaves its length open, and then cannot read it."""

Wave = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Sound:
    """A decoded sound.

    Args:
        wave: mean of the channels, float32 [samples].
        sampling_rate: Hz.
        num_channels: of the file.
    """

    wave: Wave
    sampling_rate: int
    num_channels: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.wave) / self.sampling_rate


def decode_sound(data: bytes, limits: CheckOptions | None = None, measures: dict[str, float] | None = None) -> Sound:
    """The whole sound, its channels mixed.

    Args:
        data: a sound file of a known format, told by its first bytes.
        limits: what the file's header may state, looked at before decoding; None for bytes that passed.
        measures: receives what the limits are held against, refused or not.

    Raises:
        MediaError: the bytes are no sound, are beyond a limit, hold NaN, or cannot be decoded to the end.
        MemoryError: the samples do not fit into the memory that there is.
    """
    name = audio_format(data)
    if name is None:
        raise MediaError(Reason.WRONG_FORMAT, f"no sound of a known format; starts with {data[:12]!r}")
    # Before libsndfile sees the bytes: it believes a WAV header that states too little or too much.
    problem = audio_length_problem(name, data) if limits is not None else ""
    if problem:
        raise MediaError(Reason.TRUNCATED_AUDIO, f"{name} of {len(data)} bytes: {problem}")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if limits is not None:
                _check_header(file, limits, {} if measures is None else measures)
            sound = Sound(_mix(file, limits), file.samplerate, file.channels)
            stated = file.frames
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        # The whole message names the buffer that was read from by its address, which is another one in every run.
        message = error.error_string if isinstance(error, soundfile.LibsndfileError) else error
        raise MediaError(Reason.UNREADABLE_AUDIO, f"{name} of {len(data)} bytes: {message}") from error
    if not len(sound.wave):
        raise MediaError(Reason.TOO_SHORT, "the sound holds no samples")
    if limits is not None and len(sound.wave) < stated:
        detail = f"{name}: the header states {stated} frames, {len(sound.wave)} can be decoded"
        raise MediaError(Reason.TRUNCATED_AUDIO, detail)
    return sound


def _check_header(file: soundfile.SoundFile, limits: CheckOptions, measures: dict[str, float]) -> None:
    rate, lowest, highest = file.samplerate, limits.min_sampling_rate, limits.max_sampling_rate
    measures |= {"channels": file.channels, "sampling_rate": rate}
    if file.frames < UNKNOWN_FRAMES and rate > 0:
        measures["seconds"] = file.frames / rate
    if file.channels > limits.max_channels:
        raise MediaError(Reason.TOO_MANY_CHANNELS, f"{file.channels} channels, at most {limits.max_channels}")
    if not lowest <= rate <= highest:
        raise MediaError(Reason.UNUSUAL_SAMPLING_RATE, f"{rate} Hz, between {lowest} and {highest} Hz")
    if file.frames < limits.min_clip_seconds * rate:
        raise MediaError(Reason.TOO_SHORT, f"{file.frames / rate:.3f} s, at least {limits.min_clip_seconds} s")
    if file.frames >= UNKNOWN_FRAMES:
        raise MediaError(Reason.UNREADABLE_AUDIO, "the header leaves the length open; encode the file again")
    if file.frames > limits.max_clip_seconds * rate:
        raise MediaError(Reason.TOO_LONG, f"{file.frames / rate:.3f} s, at most {limits.max_clip_seconds} s")


def _mix(file: soundfile.SoundFile, limits: CheckOptions | None) -> Wave:
    """All samples [frames], block by block, each the mean of its channels."""
    most = limits.max_clip_seconds * file.samplerate if limits is not None else float("inf")
    blocks: list[Wave] = []
    frames = 0
    while frames < file.frames:  # libsndfile reads no further; to ask again costs compressed formats a seek
        block = file.read(max(1, BLOCK_SAMPLES // file.channels), dtype="float32", always_2d=True)
        if not len(block):
            break
        with np.errstate(over="ignore", invalid="ignore"):
            mixed = block[:, 0] if file.channels == 1 else block.mean(axis=1)
        if not np.isfinite(mixed).all():
            raise MediaError(Reason.NON_FINITE_AUDIO, "the samples hold NaN or infinity")
        blocks.append(mixed)
        frames += len(mixed)
        if frames > most:
            raise MediaError(Reason.TOO_LONG, f"more than the {most / file.samplerate:g} s that are allowed")
    return blocks[0] if len(blocks) == 1 else np.concatenate([np.zeros(0, np.float32), *blocks])
