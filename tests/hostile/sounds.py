"""Sounds that lie, stop early, hold no numbers, or are none at all."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

KEPT = ""


def _chunk(name: bytes, data: bytes, stated: int | None = None) -> bytes:
    return name + struct.pack("<I", len(data) if stated is None else stated) + data


def _wav(
    data: bytes,
    stated: int | None = None,
    channels: int = 1,
    rate: int = 8000,
    kind: int = 1,
    bits: int = 16,
    before: bytes = b"",
) -> bytes:
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", kind, channels, rate, rate * block % 2**32, block % 2**16, bits)
    body = b"WAVE" + _chunk(b"fmt ", fmt) + before + _chunk(b"data", data, stated)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _noise(seconds: float = 0.5) -> bytes:
    return np.random.default_rng(0).integers(-9000, 9000, int(8000 * seconds), dtype=np.int16).tobytes()


def _floats(*values: float, channels: int = 1) -> bytes:
    samples = np.full(4000 * channels, 0.5, np.float32)
    samples[: len(values)] = values
    return _wav(samples.tobytes(), kind=3, bits=32, channels=channels)


def _saved(kind: str, seconds: float = 2) -> bytes:
    buffer = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, int(8000 * seconds)).astype(np.float32)
    soundfile.write(buffer, samples, 8000, format=kind)
    return buffer.getvalue()


def _flac_claims(frames: int) -> bytes:
    """A FLAC whose header states another number of frames (36 bits, from bit 108 of the stream information)."""
    data = bytearray(_saved("FLAC"))
    word = int.from_bytes(data[18:26], "big")
    data[18:26] = ((word >> 36 << 36) | frames).to_bytes(8, "big")
    return bytes(data)


def sounds() -> dict[str, tuple[bytes, str]]:
    """Name -> (bytes, reason that the ledger must give, `KEPT` where the sound is good despite its looks)."""
    noise, flac, ogg, mp3 = _noise(), _saved("FLAC"), _saved("OGG"), _saved("MP3")
    return {
        "wav-2-gb-claim": (_wav(noise, stated=2**31), "truncated_audio"),
        "wav-lies-longer": (_wav(noise, stated=len(noise) + 1000), "truncated_audio"),
        "wav-lies-shorter": (_wav(noise, stated=301), "truncated_audio"),
        "wav-stated-empty": (_wav(noise, stated=0), "truncated_audio"),
        "wav-no-frames": (_wav(b""), "too_short"),
        "wav-streamed": (_wav(noise, stated=2**32 - 1)[:4] + b"\xff" * 4 + _wav(noise, stated=2**32 - 1)[8:], KEPT),
        "wav-header-alone": (_wav(noise)[:20], "unreadable_audio"),
        "wav-nan": (_floats(np.nan), "non_finite_audio"),
        "wav-infinity": (_floats(-np.inf), "non_finite_audio"),
        "wav-overflow": (_floats(3.4e38, 3.4e38, channels=2), "non_finite_audio"),
        "wav-0-hz": (_wav(noise, rate=0), "unreadable_audio"),
        "wav-1-hz": (_wav(noise, rate=1), "unusual_sampling_rate"),
        "wav-2-ghz": (_wav(noise, rate=2**31 - 1), "unusual_sampling_rate"),
        "wav-no-channels": (_wav(noise, channels=0), "unreadable_audio"),
        "wav-500-channels": (_wav(bytes(500 * 2 * 800), channels=500), "too_many_channels"),
        "wav-60000-channels": (_wav(noise, channels=60_000), "unreadable_audio"),
        "wav-0-bits": (_wav(noise, bits=0), "unreadable_audio"),
        "wav-unknown-codec": (_wav(noise, kind=0x7777), "unreadable_audio"),
        "wav-silence": (_wav(bytes(8000)), "silent_audio"),
        "wav-opposite-channels": (_wav(np.tile(np.array([9000, -9000], np.int16), 4000).tobytes(), channels=2),
                                  "silent_audio"),
        "wav-blink": (_wav(_noise(0.01)), "too_short"),
        "wav-endless": (_wav(_noise(3)), "too_long"),
        "wav-garbage-chunk": (_wav(noise, before=b"\0\xff\0\xff" + bytes(12)), "truncated_audio"),
        "wav-many-empty-chunks": (_wav(noise, before=_chunk(b"JUNK", b"") * 20_000), "unreadable_audio"),
        "flac-cut": (flac[: len(flac) // 2], "unreadable_audio"),
        "flac-claims-hours": (_flac_claims(2**36 - 1), "too_long"),
        "flac-open-length": (_flac_claims(0), "unreadable_audio"),
        "flac-magic-alone": (b"fLaC", "unreadable_audio"),
        "ogg-cut": (ogg[: len(ogg) // 2], "truncated_audio"),
        "ogg-magic-alone": (b"OggS", "truncated_audio"),
        "mp3-tag-alone": (b"ID3\x04\0\0\0\0\0\0", "unreadable_audio"),
        "mp3-4-gb-tag": (b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + mp3, "unreadable_audio"),
        "mp3-sync-noise": (b"\xff\xfb" * 2000, "unreadable_audio"),
        "aiff-2-gb-chunk": (b"FORM\x80\0\0\0AIFFCOMM\x80\0\0\0", "unreadable_audio"),
        "midi": (b"MThd\0\0\0\6\0\1\0\1\0`", "wrong_format"),
        "au": (b".snd" + bytes(60), "wrong_format"),
        "text": (b"what somebody said", "wrong_format"),
        "empty": (b"", "wrong_format"),
    }  # fmt: skip
