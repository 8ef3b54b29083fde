"""Ogg Opus files with a chosen stream serial number, so that the same sound always gives the same bytes.

libsndfile draws the serial number of a stream from the clock; a corpus that must be reproducible needs its own.
Page layout and checksum: RFC 3533, section 6.
"""

from __future__ import annotations

import io
import struct

import numpy as np
import numpy.typing as npt
import soundfile

_HEADER_BYTES = 27
_SERIAL_AT = 14
_CHECKSUM_AT = 22
_SEGMENT_COUNT_AT = 26
_POLYNOMIAL = 0x04C11DB7


def encode_ogg(wave: npt.NDArray[np.float32], sampling_rate: int, serial: int, compression: float = 0.97) -> bytes:
    """Ogg Opus bytes of a mono wave; at the default compression about 17 kbit/s.

    Args:
        wave: float32 [samples] in [-1, 1].
        sampling_rate: Hz; Opus knows 8, 12, 16, 24 and 48 kHz.
        serial: the stream's serial number, 0 to 2**32 - 1.
        compression: libsndfile's compression level, 0 (large) to 1 (small).
    """
    file = io.BytesIO()
    soundfile.write(file, wave, sampling_rate, format="OGG", subtype="OPUS", compression_level=compression)
    return with_serial(file.getvalue(), serial)


def with_serial(data: bytes, serial: int) -> bytes:
    """The same Ogg stream with another serial number on every page, and the checksums that go with it."""
    pages = bytearray(data)
    start = 0
    while start < len(pages):
        segments = pages[start + _SEGMENT_COUNT_AT]
        lacing = pages[start + _HEADER_BYTES : start + _HEADER_BYTES + segments]
        end = start + _HEADER_BYTES + segments + sum(lacing)
        struct.pack_into("<I", pages, start + _SERIAL_AT, serial)
        struct.pack_into("<I", pages, start + _CHECKSUM_AT, 0)  # the checksum is taken with its own field zero
        struct.pack_into("<I", pages, start + _CHECKSUM_AT, _checksum(pages[start:end]))
        start = end
    return bytes(pages)


def _checksum(page: bytes | bytearray) -> int:
    crc = 0
    for byte in page:
        crc = (crc << 8) & 0xFFFFFFFF ^ _TABLE[(crc >> 24) ^ byte]
    return crc


def _table() -> tuple[int, ...]:
    entries = []
    for entry in range(256):
        crc = entry << 24
        for _ in range(8):
            crc = (crc << 1) ^ (_POLYNOMIAL if crc & 0x80000000 else 0)
        entries.append(crc & 0xFFFFFFFF)
    return tuple(entries)


_TABLE = _table()
