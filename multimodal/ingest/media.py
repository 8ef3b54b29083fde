"""Decode one media file fully, within limits, and say in a typed reason what is wrong with it."""

from __future__ import annotations

import io
import math
import struct

import numpy as np
import soundfile
from PIL import Image

from multimodal.errors import MediaError
from multimodal.ingest.formats import audio_format, audio_length_problem, image_ends_early, image_format
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.reasons import Reason
from multimodal.ingest.refs import MediaRef, read_ref
from multimodal.sample import Content, Modality, content_digest

# All that Pillow's decoders were seen or are documented to raise on damaged bytes.
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, ArithmeticError, LookupError, AttributeError,
    RuntimeError, AssertionError, MemoryError, struct.error,
)  # fmt: skip
BLOCK_FRAMES = 1 << 16


def read_media(ref: MediaRef, modality: Modality, checks: CheckOptions) -> Content:
    """Read and check the bytes of one picture or sound.

    Raises:
        MediaError: they are absent, beyond a limit of `checks`, or cannot be decoded to its end.
    """
    data = read_ref(ref, checks.max_file_bytes)
    check_media(data, modality, checks)
    return Content(content_digest(data), modality, data)


def check_media(data: bytes, modality: Modality, checks: CheckOptions) -> None:
    """Decode the bytes of a picture or a sound fully.

    Raises:
        MediaError: with the reason for the ledger.
    """
    if modality is Modality.IMAGE:
        _check_image(data, checks)
    else:
        _check_audio(data, checks)


def _check_image(data: bytes, checks: CheckOptions) -> None:
    name = image_format(data)
    if name is None:
        raise MediaError(Reason.WRONG_FORMAT, f"no picture; starts with {data[:12]!r}")
    try:
        with Image.open(io.BytesIO(data), formats=[name]) as image:
            _check_pixels(image.size, checks)
            image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(Reason.TOO_LARGE, str(error)) from error
    except DECODE_ERRORS as error:
        is_cut = image_ends_early(name, data) or "truncated" in str(error)
        reason = Reason.TRUNCATED_IMAGE if is_cut else Reason.UNREADABLE_IMAGE
        raise MediaError(reason, f"{name} of {len(data)} bytes: {error}") from error


def _check_pixels(size: tuple[int, int], checks: CheckOptions) -> None:
    width, height = size
    if width * height > checks.max_image_pixels:
        raise MediaError(Reason.TOO_LARGE, f"{width} x {height} pixels, at most {checks.max_image_pixels} in all")
    if width * height < checks.min_image_pixels:
        raise MediaError(Reason.TOO_SMALL, f"{width} x {height} pixels, at least {checks.min_image_pixels} in all")


def _check_audio(data: bytes, checks: CheckOptions) -> None:
    name = audio_format(data)
    if name is None:
        raise MediaError(Reason.WRONG_FORMAT, f"no sound; starts with {data[:12]!r}")
    # Before libsndfile sees the bytes: it believes a WAV header that states too little or too much.
    problem = audio_length_problem(name, data)
    if problem:
        raise MediaError(Reason.TRUNCATED_AUDIO, f"{name} of {len(data)} bytes: {problem}")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            _check_seconds(sound.frames, sound.samplerate, checks)
            frames, peak = _decode(sound)
            stated = sound.frames
    except soundfile.SoundFileError as error:
        raise MediaError(Reason.UNREADABLE_AUDIO, f"{name} of {len(data)} bytes: {error}") from error
    if frames < stated:
        raise MediaError(Reason.TRUNCATED_AUDIO, f"{name}: the header states {stated} frames, {frames} can be decoded")
    _check_level(peak, checks)


def _check_seconds(frames: int, sampling_rate: int, checks: CheckOptions) -> None:
    seconds = frames / sampling_rate
    if seconds < checks.min_clip_seconds:
        raise MediaError(Reason.TOO_SHORT, f"{seconds:.3f} s, at least {checks.min_clip_seconds} s")
    if seconds > checks.max_clip_seconds:
        raise MediaError(Reason.TOO_LONG, f"{seconds:.3f} s, at most {checks.max_clip_seconds} s")


def _decode(sound: soundfile.SoundFile) -> tuple[int, float]:
    """(frames decoded, largest absolute amplitude), block by block: memory does not grow with the clip."""
    frames, peak = 0, 0.0
    while len(block := sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
        frames += len(block)
        peak = max(peak, float(np.abs(block).max()))
        if not math.isfinite(peak) or not np.isfinite(block).all():
            raise MediaError(Reason.NON_FINITE_AUDIO, "the samples hold NaN or infinity")
    return frames, peak


def _check_level(peak: float, checks: CheckOptions) -> None:
    dbfs = 20 * math.log10(peak) if peak > 0 else -math.inf
    if dbfs < checks.silence_dbfs:
        raise MediaError(Reason.SILENT_AUDIO, f"peak {dbfs:.0f} dBFS, at least {checks.silence_dbfs:.0f} dBFS")
