"""What the bytes of a media file say about themselves: its format, and whether it ends too early.

Formats go by magic bytes, never by the file's name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

UNKNOWN_LENGTH = 0xFFFFFFFF
"""Length that programs write into a RIFF header when they stream and cannot know it."""


def image_format(data: bytes) -> str | None:
    """Pillow's name of a picture's format, None where the bytes are no picture of a known format."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    magic = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF", b"BM": "BMP"}
    magic |= {b"II*\0": "TIFF", b"MM\0*": "TIFF"}
    return next((name for start, name in magic.items() if data.startswith(start)), None)


def audio_format(data: bytes) -> str | None:
    """Name of a sound's format, None where the bytes are no sound of a known format."""
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        return "WAV"
    if data[:4] == b"FORM" and data[8:11] == b"AIF":
        return "AIFF"
    magic = {b"fLaC": "FLAC", b"OggS": "OGG", b"ID3": "MP3"}
    found = next((name for start, name in magic.items() if data.startswith(start)), None)
    is_mpeg_frame = len(data) > 2 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2
    return found or ("MP3" if is_mpeg_frame else None)


def image_ends_early(name: str, data: bytes) -> bool:
    """Whether the bytes of a picture stop before its end mark (JPEG, PNG, GIF) or its stated length (WebP, BMP)."""
    if name == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if name == "BMP":
        return len(data) < int.from_bytes(data[2:6], "little")
    ends = {"JPEG": b"\xff\xd9", "PNG": b"IEND", "GIF": b"\x3b"}
    return name in ends and ends[name] not in data[-64:]


def audio_length_problem(name: str, data: bytes) -> str:
    """What is wrong between a sound's header and its bytes; "" where nothing is, or where no length is stated."""
    if name == "WAV" and data[:4] == b"RIFF":
        return _wav_length_problem(data)
    return "the last Ogg page is not marked as the end" if name == "OGG" and not _ogg_ends(data) else ""


def _wav_length_problem(data: bytes) -> str:
    is_stream = struct.unpack_from("<I", data, 4)[0] == UNKNOWN_LENGTH
    for chunk, start, stated in _riff_chunks(data):
        held = len(data) - start
        if chunk == b"data" and stated > held and not (is_stream and stated == UNKNOWN_LENGTH):
            return f"the header states {stated} bytes of sound, the file holds {held}"
        if not all(32 <= byte < 127 for byte in chunk):
            return f"no chunk where the header says that the sound ends (at byte {start - 8} of {len(data)})"
    return ""


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, first byte, stated length) of each chunk; chunks are padded to even lengths."""
    start = 12
    while start + 8 <= len(data):
        name, length = data[start : start + 4], struct.unpack_from("<I", data, start + 4)[0]
        yield name, start + 8, length
        start += 8 + length + length % 2


def _ogg_ends(data: bytes) -> bool:
    """Whether the last page carries the end-of-stream flag and is complete (RFC 3533, section 6)."""
    page = data.rfind(b"OggS")
    if page + 27 > len(data):
        return False
    segments = data[page + 27 : page + 27 + data[page + 26]]
    is_last = bool(data[page + 5] & 4)
    return is_last and len(segments) == data[page + 26] and page + 27 + len(segments) + sum(segments) <= len(data)
