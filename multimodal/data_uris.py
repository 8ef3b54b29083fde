"""Pictures and sounds as data URIs, small enough to live in one HTML file."""

from __future__ import annotations

import base64
import io

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

_LONGEST_SIDE = 256  # pixels
_LONGEST_SECONDS = 30
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)  # Hz


def picture_uri(data: bytes, longest_side: int = _LONGEST_SIDE) -> str:
    """A picture as WebP of at most `longest_side` pixels a side.

    Raises:
        OSError: the bytes are no picture (`PIL.UnidentifiedImageError` is one).
    """
    with Image.open(io.BytesIO(data)) as opened:
        return image_uri(opened.convert("RGB"), longest_side)


def image_uri(picture: Image.Image, longest_side: int) -> str:
    """A decoded picture in RGB, made smaller in place, as WebP of at most `longest_side` pixels a side."""
    picture.thumbnail((longest_side, longest_side))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=80 if longest_side > 128 else 65)
    return _uri("image/webp", buffer.getvalue())


def sound_uri(data: bytes) -> str:
    """A sound as Ogg, at most its first 30 seconds: as it is if it is Ogg, else as Opus or, at odd rates, Vorbis.

    Raises:
        soundfile.LibsndfileError: the bytes are no sound.
    """
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        rate, seconds = file.samplerate, file.frames / file.samplerate
        wave = file.read(int(_LONGEST_SECONDS * rate), dtype="float32")
    if data.startswith(b"OggS") and seconds <= _LONGEST_SECONDS:
        return _uri("audio/ogg", data)
    return wave_uri(wave, rate)


def wave_uri(wave: NDArray[np.float32], sampling_rate: int) -> str:
    """Samples [frames] or [frames, channels] as Ogg Opus or, at rates in Hz that Opus lacks, Vorbis."""
    buffer = io.BytesIO()
    subtype = "OPUS" if sampling_rate in _OPUS_RATES else "VORBIS"
    soundfile.write(buffer, wave, sampling_rate, format="OGG", subtype=subtype)
    return _uri("audio/ogg", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
